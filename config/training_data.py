"""Bars and settings to the transformer's data: the table of features and targets, and what is joined to it."""

from pathlib import Path

from config.tft_settings import MacroSettings, TFTSettings
from engine.bars import Bars, Timeframe
from engine.errors import SettingsError
from feeds.series import read_series
from models.features.fusion import Slow
from models.features.targets import TargetSpec
from models.training.data.table import DataPlan, Table, build


def make_table(of: TFTSettings, bars: Bars, *, clock: str = "UTC", across_gaps: bool = False) -> Table:
    """Return the table of bars.

    Raises:
        SettingsError: a feature, target or file that cannot be. DataError: no window can be cut.
    """
    table = build(bars, make_data_plan(of, clock=clock, across_gaps=across_gaps), [macro_of(one) for one in of.macro])
    table.audit().check(of.short_groups)
    return table


def make_data_plan(of: TFTSettings, *, clock: str = "UTC", across_gaps: bool = False) -> DataPlan:
    """Return what the network is fed and asked."""
    targets = tuple(
        TargetSpec(one.kind, one.horizon or of.horizon, one.options, one.quantiles, one.name) for one in of.targets)
    return DataPlan(
        of.features, targets, of.lookback, of.timeframes, of.joined, of.reference, of.reference_features, of.beta,
        of.known, allow=() if of.allow_list is None else read_allow_list(of.allow_list),
        lag=0 if of.lag is None else Timeframe.parse(of.lag).duration, clock=clock, across_gaps=across_gaps,
    )


def read_allow_list(path: Path) -> tuple[str, ...]:
    """Return the names in a file, one a line; empty lines and what follows a # are left out.

    Raises:
        SettingsError: it cannot be read, or names nothing.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"tft.allow_list {path} cannot be read: {exc}; `select` writes one") from exc
    names = tuple(name for line in lines if (name := line.partition("#")[0].strip()))
    if not names:
        raise SettingsError(f"tft.allow_list {path} names no feature; expected one a line")
    return names


def macro_of(settings: MacroSettings) -> Slow:
    """Return a series that is the same for all symbols.

    Raises:
        DataError: the file cannot be read, or has no such column, or something else than numbers.
    """
    series = read_series(settings.path, settings.time, settings.columns)
    step = Timeframe.parse(settings.step).duration
    return Slow(series.names, series.times, series.values, step, settings.tolerance)
