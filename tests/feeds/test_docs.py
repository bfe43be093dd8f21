"""The examples of docs/data.md run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_code_in_the_page_about_data_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    told = capsys.readouterr().out
    assert len(blocks) == 4
    assert "BTC/USDT 1h: 2 added; now 2 bars, 2024-03-31T00:00Z to 2024-03-31T02:00Z, no gaps" in told
    assert "BTCUSDT-1h.csv: BTCUSDT 1h, 2 bars, 2024-03-31T00:00Z to 2024-03-31T02:00Z, calendar 24/7 (guessed)" in told
