"""Every strategy that acts on forecasts runs on real bars, and each of its fills leads back to the bars it rests on.

The settings are those of docs/strategies_with_models.md, over a shorter time.
"""

import json
from pathlib import Path

import pytest

from config.assembly import open_journal, run_backtest
from config.settings import load_settings
from engine.journal.lineage import why
from engine.records import DecisionForecastRow, FillRow, ForecastRow, OrderRow
from models.examples import EXAMPLES

ROOT = Path(__file__).parent.parent
MARKET = ROOT.parent / "shared" / "market"

pytestmark = pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")

SPANS = {
    "forecast_threshold": ["data.end=2024-01-20"],
    "kronos_paths": ["data.start=2020-06-01", "data.end=2021-01-15"],
    "tft_multi": ["data.end=2024-01-12"],
    "rank_rotation": ["data.start=2024-06-25", "data.end=2024-07-04"],  # all coins are listed by then
    "position_head": ["data.end=2024-01-12"],
}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, make in EXAMPLES.items():
        make(folder / name)
    return folder


@pytest.mark.parametrize("name", SPANS)
def test_every_fill_on_real_bars_leads_to_forecasts_and_their_bars(name: str, artefacts: Path, tmp_path: Path) -> None:
    path = ROOT / "docs" / "runs" / f"market_{name}.toml"
    models = load_settings(path).models
    changes = [f"models.{one}.artefact={json.dumps(str(artefacts / model.artefact.name))}"
               for one, model in models.items() if model.artefact is not None]
    url = f"sqlite:///{tmp_path}/journal.db"
    changes += [f"journal.url={json.dumps(url)}", f"forecasts.store={json.dumps(str(tmp_path / 'forecasts.db'))}"]

    backtest = run_backtest(load_settings(path, [*changes, *SPANS[name]]))

    summary = backtest.summary()
    [told] = summary["forecasts"]["models"].values()
    assert told["delivered"] > 50
    assert summary["fills"] > 0
    with open_journal(url) as journal, journal.snapshot() as reader:
        run = backtest.result.run_id
        known = {row.id for row in reader.rows(ForecastRow, run)}
        links: dict[int, list[int]] = {}
        for link in reader.rows(DecisionForecastRow, run):
            links.setdefault(link.decision_id, []).append(link.forecast_id)
        decisions = {order.id: order.decision_id for order in reader.rows(OrderRow, run)}
        fills = list(reader.rows(FillRow, run))
        assert len(known) >= told["delivered"]
        assert all(set(links[decisions[fill.order_id]]) <= known for fill in fills)
    with open_journal(url) as journal:
        chain = str(why(journal, f"r{run}-f{fills[-1].id}"))
    for words in ("fill ", "order ", "decision ", "forecast ", " bars to ", "bar "):
        assert words in chain
