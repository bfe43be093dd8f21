"""What holds for every sample strategy: it reads well, it repeats itself exactly, and it cannot see the future."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Bars, Strategy
from strategies.buy_and_hold import BuyAndHold
from strategies.forecast_threshold import ForecastThreshold
from strategies.kronos_paths import KronosPaths
from strategies.pairs import Pairs
from strategies.position_head import PositionHeadStrategy
from strategies.rank_rotation import RankRotation
from strategies.registry import available
from strategies.rsi_reversion import RsiReversion
from strategies.sma_cross import SmaCross
from strategies.sma_cross_targets import SmaCrossTargets
from strategies.tft_multi import TftMulti
from strategies.top_k_dropout import TopKDropout

Market = Callable[[Any], list[Bars]]
ROWS = 600
SHIPPED = (
    BuyAndHold, ForecastThreshold, KronosPaths, Pairs, PositionHeadStrategy, RankRotation, RsiReversion, SmaCross,
    TftMulti, TopKDropout,
)


def one(tools: Any) -> list[Bars]:
    return [tools.bars_of("A", tools.walk(ROWS, 1), wick=0.004)]


def two(tools: Any) -> list[Bars]:
    common, wave = tools.walk(ROWS, 2), np.exp(0.03 * np.sin(np.arange(ROWS) / 11))
    return [tools.bars_of("A", common * wave, wick=0.002), tools.bars_of("B", common / 2, wick=0.002)]


def many(tools: Any) -> list[Bars]:
    return [tools.bars_of(f"S{seed:02}", tools.walk(ROWS, seed), wick=0.004) for seed in range(15)]


SAMPLES = pytest.mark.parametrize(
    ("make", "market"),
    [
        (BuyAndHold, one),
        (BuyAndHold, many),
        (SmaCross, one),
        (SmaCrossTargets, one),
        (lambda: RsiReversion(period=6, largest=0.05), many),
        (lambda: TopKDropout(n_hold=5, n_drop=2), many),
        (lambda: Pairs(entry=1.3, exposure=0.5), two),
    ],
)


@SAMPLES
def test_two_runs_make_the_same_fills(tools: Any, make: Callable[[], Strategy], market: Market) -> None:
    one, other = (tools.run(make(), *market(tools), fee="0.0005") for _ in range(2))
    assert one.fills
    assert one.fills_hash == other.fills_hash


@SAMPLES
@pytest.mark.parametrize("cut", [180, 411])
def test_later_bars_change_nothing_before_them(
    tools: Any, make: Callable[[], Strategy], market: Market, cut: int
) -> None:
    bars = market(tools)
    whole = tools.run(make(), *bars, fee="0.0005")
    part = tools.run(make(), *(one[:cut] for one in bars), fee="0.0005")
    known = int(bars[0].close_time[cut - 1])
    assert part.fills == [fill for fill in whole.fills if fill.bar_close_time <= known]


def test_every_sample_can_be_read_at_one_sitting() -> None:
    for info in available():
        if info.source == "built in":
            assert info.file is not None
            assert len(info.file.read_text().splitlines()) <= 85


def test_authors_need_one_import_of_ours() -> None:
    """Samples import `engine`, numpy and the standard library; FloatArray and compute are re-exported by engine."""
    for kind in SHIPPED:
        lines = Path(inspect.getfile(kind)).read_text().splitlines()
        ours = {line.split()[1].partition(".")[0] for line in lines if line.startswith("from ")}
        assert ours - {"math", "typing", "collections"} == {"engine"}
