"""How large the work of the model benchmarks is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Found


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Args:
        lookback, horizon, context: of Kronos, in bars; sliding: steps made when the window is full from the start.
        steps: of the naive loop that are measured, spread over the horizon; full: all of them instead.
        is_small: shrunken networks, for a look at the benchmark itself.
        windows: of KRNN's batches; symbols: of the position head's step.
        panel: symbols of the whole backtest, panel_bars of each; panel_part: of them, where one by one is run too.
        rounds: turns of each contender; heavy_rounds: of those that take seconds.
        peers: a virtual environment that has the original libraries; None: they are written out in the benchmark.
    """

    lookback: int = 392
    horizon: int = 120
    context: int = 512
    sliding: int = 24
    steps: int = 6
    full: bool = False
    is_small: bool = False
    windows: int = 512
    symbols: int = 500
    panel: int = 35
    panel_bars: int = 6_000
    panel_part: int = 400
    rounds: int = 7
    heavy_rounds: int = 3
    peers: Path | None = None


QUICK = Size(
    lookback=40,
    horizon=12,
    context=52,
    sliding=5,
    steps=3,
    is_small=True,
    windows=32,
    symbols=50,
    panel=5,
    panel_bars=90,
    panel_part=75,
    rounds=1,
    heavy_rounds=1,
)

Work = Callable[[Size], Found]
