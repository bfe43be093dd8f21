"""`calibrate`: costs out of what paper sessions recorded, and the file that keeps them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from config.assembly import open_journal
from config.calibrated import CAVEAT, CalibratedCosts, read_calibration, sealed
from config.explaining import bars_of_run
from engine.analysis.calibration import MINIMUM, Calibration, Drift, calibrate, drifted
from engine.analysis.calibration_sample import NEEDED, CostSample
from engine.bars import iso
from engine.errors import DataError, EngineError, JournalError
from engine.journal.lineage import load_run

_NEGLIGIBLE = 1e-3
"""Milliseconds, or spread of their logarithm: less is none."""


@dataclass(frozen=True)
class Fitted:
    """Costs fitted from runs.

    Args:
        notes: what could not be had.
    """

    runs: tuple[int, ...]
    venues: tuple[str, ...]
    calibration: Calibration
    notes: tuple[str, ...]


def calibrate_runs(
    run_ids: Sequence[int | None], journal: str | None = None, *, minimum: int = MINIMUM, seed: int = 0
) -> Fitted:
    """Return costs fitted from the fills of runs, of one venue as a rule.

    Args:
        run_ids: None for the newest.
    Raises:
        JournalError: there is no such run. DataError: their fills are too few.
    """
    sample, runs, notes = CostSample(), [], []
    venues: dict[str, None] = {}
    with open_journal(journal) as opened:
        for run_id in run_ids:
            record = load_run(opened, run_id, NEEDED)
            run = record.run
            if run.id in runs:
                raise JournalError(f"run {run.id} is named twice; its fills count once")
            runs.append(run.id)
            venues[str(run.start.data.get("venue", run.start.kind))] = None
            if run.start.kind == "backtest":
                notes.append(f"run {run.id} is a backtest: what is fitted are the costs that it was given")
            try:
                bars = bars_of_run(opened, record, with_history=True)
            except EngineError as exc:
                notes.append(f"run {run.id}: the square-root law cannot be fitted: {exc}")
                bars = {}
            sample.add(record, bars)
    if len(venues) > 1:
        notes.append(f"the runs are of several venues ({', '.join(venues)}): one set of costs fits none of them well")
    try:
        made = calibrate(sample, minimum=minimum, seed=seed)
    except DataError as exc:
        raise DataError(f"{_named(runs)}: {exc}") from None
    for words, rates in (("maker", sample.maker), ("taker", sample.taker)):
        if len(rates) > 1 and max(rates) - min(rates) > 0.05 * max(abs(rate) for rate in rates) + 1e-7:
            span = f"{min(rates) * 1e4:.4g} to {max(rates) * 1e4:.4g} bp"
            notes.append(f"the {words}'s fee was not one rate ({span}): another tier, discount or currency on the way")
    if made.maker is None:
        notes.append("nothing rested until it filled: the maker's fee is not known, and the taker's is written for it")
    return Fitted(tuple(runs), tuple(venues), made, tuple(notes))


def keep(fitted: Fitted, path: Path, name: str | None = None) -> tuple[CalibratedCosts, list[Drift]]:
    """Write the costs to a file, and return what was written, and how they differ from those the file had.

    Raises:
        SettingsError: the file is there and is no calibration.
    """
    before = read_calibration(path) if path.exists() else None
    version = before.version + 1 if before is not None else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(sealed(_body(fitted, name or (before.name if before else path.stem), version)), "utf-8")
    partial.replace(path)
    return read_calibration(path), drifted(dict(before.intervals), fitted.calibration) if before is not None else []


def _body(fitted: Fitted, name: str, version: int) -> str:
    made = fitted.calibration
    maker = made.maker or made.taker
    lines = [
        f"# Costs fitted from {made.fills:,} fills of {_named(fitted.runs)}. {CAVEAT.capitalize()}.",
        '# A backtest names this file: [costs] calibrated = "…". Do not edit it: the first line is its hash.',
        "",
        "[calibration]",
        f'name = "{_quoted(name)}"',
        f"version = {version}",
        f'made_at = "{iso(time.time_ns() // 10**9 * 10**9)}"',
        f"runs = {list(fitted.runs)}",
        f"venues = {_texts(fitted.venues)}",
        f"symbols = {_texts(made.symbols)}",
        f'first_fill = "{iso(made.first)}"',
        f'last_fill = "{iso(made.last)}"',
        f"fills = {made.fills}",
        f'caveat = "{CAVEAT}"',
        "",
        "[costs]",
        f'fees = {{ kind = "maker_taker", maker = "{_rate(maker.value)}", taker = "{_rate(made.taker.value)}" }}',
        f"slippage = {{ {_slippage(made)} }}",
        f"latency = {{ {_latency(made)} }}",
        "",
        "[intervals]    # of 95 %, by the bootstrap",
        *(f"{key} = [{one.low!r}, {one.high!r}]" for key, one in made.estimates().items()),
        "",
        "[fitted]       # the same, with how many orders or fills they rest on",
        *(
            f"{key} = {{ value = {one.value!r}, observations = {one.observations} }}"
            for key, one in made.estimates().items()
        ),
        f"latency_quantiles_milliseconds = {[round(value, 6) for value in made.latency_quantiles]}    # 50, 90, 99 %",
    ]
    return "\n".join(lines) + "\n"


def _slippage(made: Calibration) -> str:
    spread = f"half_spread_basis_points = {max(0.0, made.half_spread.value)!r}"
    if made.law == "sqrt_impact" and made.impact is not None:
        return f'kind = "sqrt_impact", coefficient = {made.impact.value!r}, exponent = 0.5, {spread}'
    return f'kind = "fixed", basis_points = {max(0.0, made.slippage.value)!r}, {spread}'


def _latency(made: Calibration) -> str:
    median, sigma = made.latency_median.value, made.latency_sigma.value
    if median <= _NEGLIGIBLE:
        return 'kind = "constant", milliseconds = 0.0'
    if sigma <= _NEGLIGIBLE:
        return f'kind = "constant", milliseconds = {median!r}'
    return f'kind = "lognormal", median_milliseconds = {median!r}, sigma = {sigma!r}'


def _rate(value: float) -> str:
    return f"{Decimal(value).quantize(Decimal('1e-9')).normalize():f}"


def _texts(values: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{_quoted(value)}"' for value in values) + "]"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _named(runs: Sequence[int]) -> str:
    return f"run{'s' if len(runs) > 1 else ''} {', '.join(map(str, runs))}"
