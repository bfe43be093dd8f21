"""A session's status as people see it: once, or again and again on a terminal."""

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from config.terminal import table
from engine.analysis.formatting import NOTHING, duration, money, price
from engine.bars import MINUTE, SECOND, iso
from engine.live.status import Status

SHOWN = 8
"""Rows of each table."""

_STYLES = {"running": "green", "halted": "bold red", "failed": "bold red", "stopped": "dim"}
_LEVELS = {"error": "red", "warning": "yellow"}


def status_view(status: Status, now: int, rows: int = SHOWN) -> RenderableType:
    """Return everything a status says; tables that would be empty are left out.

    Args:
        now: our clock, UTC ns, for ages.
    """
    parts: list[RenderableType] = [_head(status, now), _health(status, now)]
    for title, made in (
        ("halts", _halts(status)), ("positions", _positions(status, rows)), ("orders", _orders(status, now, rows)),
        ("last decisions", _decisions(status, rows)), ("feed", _streams(status, now, rows)),
        ("forecasts", _forecasts(status, now)), ("alerts", _alerts(status, rows)),
    ):
        if made is not None:
            parts.append(Panel(made, title=title, title_align="left", border_style="dim", padding=(0, 1)))
    return Group(*parts)


def _head(status: Status, now: int) -> Text:
    state, style = status.state, _STYLES.get(status.state, "yellow")
    if status.is_silent(now):
        state, style = f"silent for {_age(status.written_at, now)}; it said {status.state}", "bold red"
    return Text.assemble(
        (f"run {status.run_id}", "bold"), f"  {status.strategy} on {status.venue} ({status.broker})  ", (state, style),
        f"  since {iso(status.started_at // MINUTE * MINUTE)}, process {status.pid}, session {status.session}",
    )


def _health(status: Status, now: int) -> Text:
    facts = [("equity", money(status.equity, status.currency)), ("cash", money(status.cash, status.currency))]
    if status.day_opening_equity:
        facts.append(("today", money(status.equity - status.day_opening_equity, status.currency, signed=True)))
    age, lag, offset = status.forecast_age(now), status.feed_lag, status.clock_offset
    facts += [
        ("feed lag", NOTHING if lag is None else f"{lag:.2f} s"),
        ("forecast age", NOTHING if age is None else duration(int(age) * SECOND)),
        ("clock", NOTHING if offset is None else f"{offset * 1000:+.0f} ms"),
        ("waiting", f"{status.queue_depth:,}"), ("unresolved", f"{status.unresolved:,}"),
        ("reconnects", f"{status.reconnects:,}"),
    ]
    if status.decision_latency is not None:
        middle, late = status.decision_latency
        facts.append(("bar to orders", f"{middle * 1000:.1f} ms, p99 {late * 1000:.1f}"))
    facts.append(("so far", f"{status.bars:,} bars, {status.decisions_made:,} decisions, {status.fills:,} fills"))
    text = Text()
    for name, value in facts:
        wrong = name == "unresolved" and status.unresolved
        text.append(f"{name} ", style="dim")
        text.append(f"{value}   ", style="bold red" if wrong else "")
    return text


def _positions(status: Status, rows: int) -> Table | None:
    found = sorted(status.positions, key=lambda one: -abs(one.value))
    return _table(
        ("symbol", "held", "entry", "last", "worth", "result"),
        [
            (one.symbol, price(one.quantity), price(one.entry_price), price(one.last_price), money(one.value),
             money(one.result, signed=True)) for one in found
        ], rows, text=1)


def _orders(status: Status, now: int, rows: int) -> Table | None:
    return _table(
        ("order", "symbol", "side", "type", "quantity", "filled", "price", "status", "since"),
        [
            (f"{one.id}", one.symbol, one.side, one.type, price(one.quantity), price(one.filled),
             NOTHING if one.price is None else price(one.price), one.status, _age(one.since, now))
            for one in status.orders
        ], rows, text=4)


def _decisions(status: Status, rows: int) -> Table | None:
    return _table(
        ("time", "symbol", "action", "why"),
        [(iso(one.time), one.symbol, one.action, one.why) for one in status.decisions], rows)


def _streams(status: Status, now: int, rows: int) -> Table | None:
    """List the streams that are worst off first: the stale, then the latest."""
    found = sorted(status.streams, key=lambda one: (not one.is_stale, -one.lag))
    return _table(
        ("symbol", "timeframe", "last bar", "lag", ""),
        [
            (one.symbol, one.timeframe, f"{_age(one.last_close_time, now)} ago" if one.last_close_time else NOTHING,
             f"{one.lag:.2f} s" if one.last_close_time else NOTHING, "STALE" if one.is_stale else "")
            for one in found
        ], rows)


def _forecasts(status: Status, now: int) -> Table | None:
    return _table(
        ("model", "age", "took", "made"),
        [
            (one.model, _age(one.as_of, now) if one.as_of else NOTHING, f"{one.latency * 1000:.0f} ms", f"{one.made:,}")
            for one in status.forecasts
        ], SHOWN)


def _halts(status: Status) -> Table | None:
    return _table(
        ("since", "rule", "symbol", "action", "until", "reason"),
        [
            (iso(one.time // SECOND * SECOND), one.rule, one.symbol or "all", one.action,
             iso(one.lift_at) if one.lift_at else "it is lifted", one.reason) for one in status.halts
        ], SHOWN)


def _alerts(status: Status, rows: int) -> Table | None:
    made = _table(
        ("time", "level", "from", "what"),
        [(iso(one.time // SECOND * SECOND), one.level, one.source, one.text) for one in status.alerts], rows)
    if made is not None:
        for row, one in zip(made.rows, status.alerts, strict=False):
            row.style = _LEVELS.get(one.level, "")
    return made


def _table(
    headings: tuple[str, ...], rows: list[tuple[str, ...]], most: int, text: int | None = None
) -> Table | None:
    """Return a table of the first rows, or None; columns from the `text`-th on, but the last, hold numbers."""
    if not rows:
        return None
    shown = rows[:most]
    if len(rows) > most:
        shown.append((f"and {len(rows) - most:,} more", *("" for _ in headings[1:])))
    return table(headings, shown, numbers=headings[text:] if text is not None else ())


def _age(time: int, now: int) -> str:
    return duration(max(0, now - time) // SECOND * SECOND)


class Dashboard:
    """Shows the status in place on a terminal, redrawn whenever it is told of a new one.

    Use as a context manager: the terminal is given back however the block ends.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, screen=False, transient=False)
        self._said: list[Text] = []

    def show(self, status: Status, now: int) -> None:
        """Draw a status, and under it what was told last."""
        self._live.update(Group(status_view(status, now), *self._said), refresh=True)

    def told(self, level: str, text: str) -> None:
        """Keep a line under the status."""
        self._said = [*self._said[-3:], Text(text, style=_LEVELS.get(level, "dim"))]
        self._live.refresh()

    def __enter__(self) -> "Dashboard":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()
