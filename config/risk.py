"""The risk gate that settings describe, and the rules of one's own that it finds.

A rule is found as `module:Class`, as a class in a file of the folders in the settings, or as an installed entry point
in the group `barcast.risk_rules`.
"""

import getpass
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from config.settings import RiskSettings, RuleSettings
from engine.errors import JournalError, PluginError, SettingsError, nearest_name
from engine.journal.lineage import load_run
from engine.journal.reading import RunRecord
from engine.journal.sql import SqlJournal
from engine.records import CommandRow, RiskEventRow
from engine.risk import RiskGate, RiskRule
from engine.risk.flow import AllowedInstruments, MaxOpenOrders, OrderRate, PriceBand, ReduceOnly, VolumeShare
from engine.risk.live import FRESH, ClockSkew, FeedLag, ForecastAge, StaleData
from engine.risk.losses import NEXT_DAY, CoolDown, DailyLoss, Drawdown
from engine.risk.rule import duration_of
from engine.risk.sizes import MaxLeverage, MaxOrderNotional, MaxPosition, MaxPositionNotional

GROUP = "barcast.risk_rules"
"""The entry-point group of installed packages: `quiet_hours = "my_package.rules:QuietHours"`."""


def make_gate(settings: RiskSettings) -> RiskGate:
    """Return the gate before the broker, with rules of one's own after those of the settings.

    Raises:
        SettingsError: limits contradict each other, or a parameter of a rule does not fit.
        PluginError: a rule cannot be found or loaded.
    """
    own = [_own_rule(one, settings.folders) for one in settings.rules]
    return RiskGate([*_about_orders(settings), *_about_size(settings), *_watching(settings), *own])


def named_symbols(settings: RiskSettings) -> list[tuple[str, str]]:
    """Return (setting, symbol) of every symbol that the limits name."""
    found = [(f"risk.{name}", symbol) for name in ("allow", "forbid") for symbol in getattr(settings, name)]
    for name in ("max_position", "max_order_notional", "max_position_notional"):
        limits = getattr(settings, name)
        if isinstance(limits, dict):
            found += [(f"risk.{name}", symbol) for symbol in limits if symbol != "default"]
    return found


def _about_orders(settings: RiskSettings) -> Iterator[RiskRule]:
    if settings.allow or settings.forbid:
        yield AllowedInstruments(settings.allow, settings.forbid)
    if settings.reduce_only:
        yield ReduceOnly()
    fingers = settings.fat_finger
    if fingers is not None and fingers.price_band is not None:
        yield PriceBand(fingers.price_band)
    if fingers is not None and fingers.volume_share is not None:
        yield VolumeShare(fingers.volume_share, fingers.volume_bars)
    if settings.max_open_orders is not None:
        yield MaxOpenOrders(settings.max_open_orders.orders, settings.max_open_orders.per_symbol)
    if settings.order_rate is not None:
        yield OrderRate(settings.order_rate.orders, duration_of(settings.order_rate.window))


def _about_size(settings: RiskSettings) -> Iterator[RiskRule]:
    for rule, limits in (
        (MaxPosition, settings.max_position),
        (MaxOrderNotional, settings.max_order_notional),
        (MaxPositionNotional, settings.max_position_notional),
    ):
        if isinstance(limits, Decimal):
            yield rule(limits)
        elif limits is not None:
            symbols = {symbol: limit for symbol, limit in limits.items() if symbol != "default"}
            yield rule(limits.get("default"), symbols)
    if settings.max_gross_leverage is not None or settings.max_net_leverage is not None:
        yield MaxLeverage(settings.max_gross_leverage, settings.max_net_leverage)


def _watching(settings: RiskSettings) -> Iterator[RiskRule]:
    loss, drawdown, pause = settings.daily_loss, settings.drawdown, settings.cool_down
    if loss is not None:
        yield DailyLoss(
            loss.fraction, loss.amount, hour=loss.hour, action=loss.action, lift_after=_wait_of(loss.lift_after))
    if drawdown is not None:
        yield Drawdown(drawdown.fraction, action=drawdown.action, lift_after=_wait_of(drawdown.lift_after))
    if pause is not None:
        yield CoolDown(
            pause.losses, duration_of(pause.pause), per_symbol=pause.per == "symbol", action=pause.action)


    for rule, limits in (
        (StaleData, settings.stale_data), (FeedLag, settings.feed_lag), (ClockSkew, settings.clock_skew)
    ):
        if limits is not None:
            yield rule(limits.seconds, action=limits.action, lift_after=_wait_of(limits.lift_after))
    age = settings.forecast_age
    if age is not None:
        yield ForecastAge(duration_of(age.limit), action=age.action, lift_after=_wait_of(age.lift_after))


def _wait_of(text: str) -> int | None:
    words = {"never": None, "next_day": NEXT_DAY, "fresh": FRESH}
    return words[text] if text in words else duration_of(text)


def _own_rule(settings: RuleSettings, folders: Sequence[Path]) -> RiskRule:
    try:
        rule = find_rule(settings.rule, folders)(**settings.parameters)
    except TypeError as exc:
        raise SettingsError(f"risk rule {settings.rule}: {exc}") from exc
    if settings.action is not None:
        rule.action = settings.action
    if settings.lift_after == "next_day":
        raise SettingsError(f'risk rule {settings.rule}: lift_after is "next_day", which is for daily_loss alone; '
                            f'expected a span such as "1d", or "never"')
    if settings.lift_after is not None:
        rule.lift_after = _wait_of(settings.lift_after)
    return rule


# ── finding rules ───────────────────────────────────────────────────────────────────────────────────────────────────


def find_rule(name: str, folders: Sequence[Path] = ()) -> type[RiskRule]:
    """Return the rule of that name.

    Args:
        name: `module:Class`, a class in a file of the folders, or an entry point's name.
        folders: where modules and classes are looked for first.
    Raises:
        PluginError: there is none (with the nearest name), it cannot be loaded, or it is no rule.
    """
    files = [path for folder in folders for path in sorted(_checked_folder(folder).glob("[!_]*.py"))]
    module_name, colon, class_name = name.partition(":")
    if colon:
        file = next((path for path in files if path.stem == module_name), None)
        module = _module_of(file) if file is not None else _imported(module_name)
        return _rule_in(module, class_name, name)
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        module_name, _, class_name = points[name].value.partition(":")
        return _rule_in(_imported(module_name), class_name, points[name].value)
    found = [rule for path in files for rule in _rules_in(_module_of(path))]
    fitting = [rule for rule in found if name in (rule.__name__, rule.name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        modules = " and ".join(f"{rule.__module__}:{rule.__name__}" for rule in fitting)
        raise PluginError(f"two risk rules are called {name!r}: {modules}; rename one")
    known = [*points, *(rule.__name__ for rule in found)]
    raise PluginError(
        f"unknown risk rule {name!r}{nearest_name(name, known)} (there are: {', '.join(known) or 'none'}); expected "
        f"module:Class, a class in one of [risk] folders, or an entry point of {GROUP}")


def _checked_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise PluginError(f"risk.folders has {folder}, which is no folder; name the one that the rules' files lie in")
    return folder


def _module_of(path: Path) -> ModuleType:
    """Return the module of a file, the same one every time; named by its path, so that namesakes stay apart."""
    name = f"barcast_rules_{sha256(str(path.parent).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever an author's file may raise becomes ours here, at the seam
        del sys.modules[name]
        raise PluginError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise PluginError(
                f"there is no module {error.name!r}; put its folder into [risk] folders, or on PYTHONPATH") from error
        raise PluginError(f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # as above
        raise PluginError(f"{name}: {type(error).__name__}: {error}") from error


def _rules_in(module: ModuleType) -> list[type[RiskRule]]:
    return [
        value for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, RiskRule) and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]


def _rule_in(module: ModuleType, class_name: str, reference: str) -> type[RiskRule]:
    found = getattr(module, class_name, None)
    if isinstance(found, type) and issubclass(found, RiskRule) and found is not RiskRule:
        return found
    known = [rule.__name__ for rule in _rules_in(module)]
    if found is None:
        there = ", ".join(known) or "none"
        raise PluginError(f"{reference}: no {class_name!r}{nearest_name(class_name, known)} (its rules: {there})")
    raise PluginError(f"{reference} is no risk rule; expected a class derived from engine.risk.RiskRule")


# ── the state of a run ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RiskState:
    """What the journal says of a run's gate.

    Args:
        limits: rule → its limits, from the assumption card; halts: in force; wishes: lifts that were asked for.
        refused: how many orders each rule has refused; empty while the run goes on.
    """

    run_id: int
    strategy: str
    kind: str
    status: str
    limits: dict[str, Any]
    events: tuple[RiskEventRow, ...]
    halts: tuple[RiskEventRow, ...]
    wishes: tuple[CommandRow, ...]
    refused: dict[str, int]


def run_number(text: str) -> int | None:
    """Return the number of "3" or "r3"; None for "last".

    Raises:
        JournalError: the text is neither.
    """
    if text == "last":
        return None
    if not text.removeprefix("r").isdecimal():
        raise JournalError(f"{text!r} is no run; expected its number, such as 3, or last")
    return int(text.removeprefix("r"))


def risk_state(journal: SqlJournal, run_id: int | None = None) -> RiskState:
    """Return the state of a run's gate; of the newest run if none is named.

    Raises:
        JournalError: there is no such run.
    """
    record = load_run(journal, run_id, ("risk_events", "commands"))
    run = record.run
    card = run.start.assumptions.get("risk", {})
    refused = {str(rule): int(count) for rule, count in run.result.get("refused_by", {}).items()}
    return RiskState(
        run.id, run.start.strategy, run.start.kind, run.status, card, record.risk_events, _in_force(record),
        tuple(command for command in record.commands if command.kind == "lift"), refused,
    )


def ask_lift(
    journal: SqlJournal, run_id: int | None, why: str, rule: str = "", symbol: str = ""
) -> tuple[RiskEventRow, ...]:
    """Write down that the halts of a run are to be lifted; the run reads it at its next bar, or once started again.

    Returns:
        The halts that are meant.
    Raises:
        JournalError: the run is a backtest, or halts nothing of the kind.
        SettingsError: no reason is given.
    """
    if not why.strip():
        raise SettingsError('a lift needs a reason, for the record: --why "checked the feed, it was a bad print"')
    record = load_run(journal, run_id, ("risk_events",))
    run = record.run
    if run.start.kind == "backtest":
        raise JournalError(
            f"run {run.id} is a backtest ({run.status}); nobody can lift its halts now. Say beforehand when they end: "
            f'lift_after = "1d" in [risk.{_first_rule(record)}]')
    meant = [halt for halt in _in_force(record) if rule in ("", halt.rule) and symbol in ("", halt.symbol)]
    if not meant:
        there = ", ".join(f"{halt.rule} ({halt.symbol or 'all'})" for halt in _in_force(record)) or "none"
        asked = " ".join(filter(None, (rule, symbol))) or "anything"
        hint = nearest_name(rule, [halt.rule for halt in _in_force(record)])
        raise JournalError(f"run {run.id} has no halt of {asked} to lift; in force: {there}{hint}")
    journal.add_command(run.id, CommandRow(0, time.time_ns(), "lift", symbol, rule, why, getpass.getuser()))
    return tuple(meant)


def _in_force(record: RunRecord) -> tuple[RiskEventRow, ...]:
    halts: dict[tuple[str, str], RiskEventRow] = {}
    for event in record.risk_events:
        if event.kind == "halt":
            halts[event.rule, event.symbol] = event
        else:
            halts.pop((event.rule, event.symbol), None)
    return tuple(halts.values())


def _first_rule(record: RunRecord) -> str:
    halts = _in_force(record)
    return halts[0].rule if halts else "daily_loss"
