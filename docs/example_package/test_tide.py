"""What Tide does on bars made by hand. `pytest --strategy tide_strategies.tide:Tide` adds the conformance kit."""

from tide_strategies.tide import Tide

from engine.testing import make_bars, run_bars


def test_it_holds_after_a_rise_and_leaves_after_a_fall() -> None:
    closes = [100.0, 101.0, 102.0, 103.0, 99.0, 98.0, 98.0]
    result = run_bars(make_bars(closes), Tide(bars=2))
    assert [fill.side for fill in result.fills] == ["buy", "sell"]
