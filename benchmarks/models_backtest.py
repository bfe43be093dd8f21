"""A whole backtest with a network in it: its forecasts in large batches ahead of the loop, beside one after another.

Both runs make the same decisions; the second run of the same backtest asks the network nothing. One after another takes
minutes, so it is run over the first part of the bars, and the batches over the same part are what it is held against;
`--full` runs all of it. What counts is the CPU time of the whole process: windows, features, network, store, loop.
"""

import copy
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.market import panel_bars
from benchmarks.measuring import Stopwatch, Turn, take_turns
from benchmarks.models_size import Size
from benchmarks.rows import Found, Row
from engine.bars import Bars
from engine.forecasting.book import ForecastTerms
from engine.forecasting.store import ForecastStore
from engine.forecasts import Forecaster
from engine.testing import run_bars
from models.alpha360 import COLUMNS, FIELDS, LOOKBACK
from models.artefact import ArtefactCard, save_artefact
from models.forecasters import load_forecaster
from models.krnn import KRNN, card_configuration
from strategies.rank_rotation import RankRotation

_LEAST = 10.0


def works(size: Size) -> Found:
    """Return rows for batches beside one by one, by our forward and by the original's, and one for a run made again."""
    with tempfile.TemporaryDirectory() as folder:
        forecaster = _forecaster(Path(folder))
        return Found([*_batches(size, forecaster), _again(size, forecaster, Path(folder))])


def panel(size: Size, bars: int) -> Bars:
    """Return hourly bars of the panel, so many of each symbol, with volumes that differ."""
    made = panel_bars(size.panel, bars)
    return replace(made, volume=np.random.default_rng(3).lognormal(12, 1, len(made)))


def _forecaster(folder: Path) -> Forecaster:
    """Return a network of Qlib's default sizes and random weights, as a run loads it."""
    torch.manual_seed(0)
    network = KRNN()
    card = ArtefactCard(
        "krnn", card_configuration(network.configuration), inputs=FIELDS, layout="field_major", timeframe="1h",
        lookback=LOOKBACK, horizon=1, label={"lag": 1, "horizon": 1}, scalers={"kind": "robust", "clip": 3.0},
    )
    scalers = {"median": torch.ones(len(COLUMNS)), "scale": torch.full((len(COLUMNS),), 0.02)}
    save_artefact(folder / "krnn", card, network.state_dict(), scalers=scalers)
    return load_forecaster("krnn", folder / "krnn", device="cpu")


def _as_original(forecaster: Forecaster) -> Forecaster:
    """Return a forecaster that goes through the networks one after another and keeps every step, as Qlib's does."""
    made, network = copy.copy(forecaster), _Plain(layout="field_major").eval()
    network.load_state_dict(forecaster._network.state_dict())  # type: ignore[attr-defined]
    made._network = network  # type: ignore[attr-defined]
    return made


class _Plain(KRNN):
    def infer(self, x: Tensor, nodes: Tensor | None = None) -> Tensor:
        """[N, 360] → [N]"""
        return self(x, nodes)


def run_of(bars: Bars, forecaster: Forecaster, **terms: Any) -> tuple[tuple[str, int, Any], float, float]:
    """Run a rotation over the panel, ranked at every bar; return its fills' hash, orders and what forecasts took."""
    strategy = RankRotation()
    strategy.n_hold, strategy.n_drop = 10, 1
    with Stopwatch() as watch:
        result = run_bars(
            bars, strategy, forecasters={"krnn": forecaster}, forecast_terms=ForecastTerms(**terms)
        )
    return (result.fills_hash, result.order_count, result.forecasts["models"]["krnn"]), watch.cpu, watch.wall


def _batches(size: Size, forecaster: Forecaster) -> list[Row]:
    bars = panel(size, size.panel_bars if size.full else size.panel_part)
    contenders = {
        "batches": partial(run_of, bars, forecaster),
        "one by one": partial(run_of, bars, forecaster, batch=1, is_ahead=False),
        "one by one through the original's forward": partial(
            run_of, bars, _as_original(forecaster), batch=1, is_ahead=False
        ),
    }
    turns = take_turns(contenders, 1 if size.full or size.is_small else 2)
    return [_beside(size, bars, turns, name) for name in contenders if name != "batches"]


def _beside(size: Size, bars: Bars, turns: dict[str, Turn[Any]], name: str) -> Row:
    (ours, orders, work), (theirs, other_orders, other_work) = turns["batches"].outcome, turns[name].outcome
    rate, other_rate = (work["computed"] / turns[one].cpu for one in ("batches", name))
    ratio = rate / other_rate
    each = len(bars) // size.panel
    part = "" if size.full or size.is_small else f"; the first {each:,} of {size.panel_bars:,} bars of each"
    check = (
        f"the hash of all fills, {orders:,} orders, of {work['computed']:,} forecasts in {work['calls']:,} and in "
        f"{other_work['calls']:,} calls{part}"
    )
    is_equal = (ours, orders) == (theirs, other_orders)
    return Row(
        f"whole backtest, KRNN over {size.panel} symbols: in batches ÷ {name}", rate, other_rate, ratio,
        f"ratio ≥ {_LEAST:g}", is_equal, "forecasts/s", ratio >= _LEAST, check,
    )


def _again(size: Size, forecaster: Forecaster, folder: Path) -> Row:
    bars = panel(size, size.panel_bars)
    with ForecastStore(folder / "forecasts.db") as store:
        (first, orders, work), cpu, _ = run_of(bars, forecaster, store=store)
        (second, again, told), cpu_again, _ = run_of(bars, forecaster, store=store)
    is_met = told["calls"] == 0
    check = (
        f"the hash of all fills; {told['stored']:,} forecasts from the store; {cpu:.0f} s of CPU the first time, "
        f"{cpu_again:.0f} s the second"
    )
    return Row(
        f"second run of the same backtest, {size.panel} symbols × {size.panel_bars:,} bars", told["calls"],
        work["calls"], None, "0 model calls", (first, orders) == (second, again), "model calls", is_met, check,
    )
