"""The runs shown in docs/real_runs.md give, fill by fill, what the page says."""

import re
from pathlib import Path

import pytest

from config.assembly import run_backtest
from config.settings import load_settings

ROOT = Path(__file__).parent.parent
MARKET = ROOT.parent / "shared" / "market"
PAGE = (ROOT / "docs" / "real_runs.md").read_text("utf-8")

pytestmark = pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")


@pytest.mark.parametrize("name", ["btc_5m", "panel_1h"])
def test_the_page_shows_what_the_run_gives(name: str, tmp_path: Path) -> None:
    section = next(part for part in PAGE.split("\n## ") if f"docs/runs/{name}.toml" in part)
    shown = re.search(r"\| fills \| `([0-9a-f]{64})` \|", section)
    assert shown is not None
    settings = load_settings(
        ROOT / "docs" / "runs" / f"{name}.toml", [f'journal.url="sqlite:///{tmp_path}/journal.db"']
    )
    result = run_backtest(settings).result
    assert result.fills_hash == shown[1]
    counts = re.search(r"\| bars, orders, fills \| ([\d ]+), ([\d ]+), ([\d ]+) \|", section)
    assert counts is not None
    assert [int(count.replace(" ", "")) for count in counts.groups()] == [
        result.bars,
        result.order_count,
        len(result.fills),
    ]
