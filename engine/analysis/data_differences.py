"""Where the data of two runs differ: the first differing bar of each stream, as far as what was kept can tell."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.analysis.inputs import ABSENT, Difference, Recorded, number_text
from engine.bars import Bars, Stream, Timeframe, iso
from engine.journal.data_checks import Place, StreamChecks, checks_in, first_difference, value_before, value_in
from engine.records import DataStreamRow


def data_differences(then: Recorded, now: Recorded) -> list[Difference]:
    """Return the streams whose bars differ, each with its first differing bar as far as what was kept can tell."""
    if then.start.data_fingerprint == now.start.data_fingerprint:
        return []
    before = {(row.symbol, row.timeframe): row for row in then.streams}
    after = {(row.symbol, row.timeframe): row for row in now.streams}
    if not before or not after:
        note = "one of the runs was recorded without its streams' hashes, so that the bar cannot be named"
        return [Difference("data", "fingerprint", then.start.data_fingerprint, now.start.data_fingerprint, note=note)]
    found = []
    for stream in dict.fromkeys((*before, *after)):
        name = " ".join(stream)
        if stream not in before or stream not in after:
            was, is_now = (_span(side[stream]) if stream in side else ABSENT for side in (before, after))
            found.append(Difference("data", name, was, is_now))
        elif before[stream].digest != after[stream].digest:
            found.append(_bar_difference(Stream(*stream), then, before[stream], now, after[stream]))
    return found or [Difference("data", "streams", _order(then.streams), _order(now.streams), note="in another order")]


def _bar_difference(
    stream: Stream, then: Recorded, before: DataStreamRow, now: Recorded, after: DataStreamRow
) -> Difference:
    """Return the first differing bar of a stream."""
    name = f"{stream.symbol} {stream.timeframe}"
    checks = [_checks(side, row) for side, row in ((then, before), (now, after))]
    if checks[0] is None or checks[1] is None:
        note = "the bar cannot be named: the journal has no checks of these data (were runs deleted?)"
        return Difference("data", name, _span(before), _span(after), note=note)
    place = first_difference(checks[0], checks[1])
    if place is None:
        return Difference("data", name, before.digest, after.digest, note="in a way that the kept checks cannot place")
    if place.index is None:
        return _in_span(name, stream, place, before, after, checks[1])
    bars = [side.bar(stream, place.index) for side in (then, now)]
    opened = _open_time(place.index, bars[1] or bars[0], before, after, stream)
    bar = f"the bar that opened {iso(opened)}" if opened is not None else f"bar {place.index + 1:,}"
    counts = f"{before.bars:,} bars then, {after.bars:,} now" if before.bars != after.bars else ""
    if place.shift:
        return Difference("data", name, None, None, note=f"{_shift(place, bar, after)}; {counts}")
    values = list(_values_of(place, bars))
    more = f"{place.differing:,} bars of the {place.last - place.first:,} around it differ" \
        if place.differing is not None and place.differing > 1 else ""
    note = "; ".join(part for part in (more, counts) if part)
    if not values:
        fields = ", ".join(place.columns) or "a value"
        return Difference("data", f"{name}, {bar}", None, None, note="; ".join(p for p in (fields, note) if p))
    column, was, is_now = values[0]
    also = ", ".join(f"{other} {number_text(old)} → {number_text(new)}" for other, old, new in values[1:])
    note = "; ".join(part for part in (f"also {also}" if also else "", note) if part)
    return Difference("data", f"{name}, {column} of {bar}", was, is_now, note=note)


def _shift(place: Place, bar: str, after: DataStreamRow) -> str:
    count = f"{abs(place.shift):,} bar{'s' if abs(place.shift) > 1 else ''}"
    if place.shift > 0:
        return f"{count} more from {bar} on"
    if place.index is not None and place.index >= after.bars:
        return f"the last {count} are gone, it ends {iso(after.last_close_time)}"
    return f"{count} {'are' if place.shift < -1 else 'is'} gone before {bar}"


def _values_of(place: Place, bars: Sequence[Bars | None]) -> Iterator[tuple[str, Any, Any]]:
    """Yield column, old and new value, as far as they can be known."""
    old, new = bars
    for number, column in enumerate(place.columns):
        delta = place.deltas[number] if place.deltas is not None else None
        was = value_in(old, column, 0) if old is not None else None
        is_now = value_in(new, column, 0) if new is not None else None
        if was is None and is_now is not None and delta is not None:
            was = value_before(column, is_now, delta)
        if is_now is None and was is not None and delta is not None:
            is_now = value_before(column, was, -delta)
        if was is not None and is_now is not None and was != is_now:
            yield column, _shown(column, was), _shown(column, is_now)
        elif is_now is not None and was is None:
            yield column, "not recorded", _shown(column, is_now)


def _in_span(
    name: str, stream: Stream, place: Place, before: DataStreamRow, after: DataStreamRow, checks: StreamChecks
) -> Difference:
    first = int(checks.starts[place.first // checks.block_bars])
    end = place.last // checks.block_bars
    last = int(checks.starts[end]) if place.last < after.bars and end < len(checks.starts) else after.last_close_time
    span = f"{place.last - place.first:,} bars from {iso(first)} to {iso(last)}"
    fields = f" ({', '.join(place.columns)})" if place.columns else ""
    counts = f"; {before.bars:,} bars then, {after.bars:,} now" if before.bars != after.bars else ""
    note = f"first among the {span}{fields}: the data are too long for the journal to keep a check of each bar{counts}"
    return Difference("data", name, None, None, note=note)


def _checks(side: Recorded, row: DataStreamRow) -> StreamChecks | None:
    kept = row if row.blocks is not None else side.checked(row.digest)
    return None if kept is None else checks_in(kept)


def _open_time(
    index: int, bar: Bars | None, before: DataStreamRow, after: DataStreamRow, stream: Stream
) -> int | None:
    """Return when the bar opened: as it says itself, or by counting where no bar is missing on either side."""
    if bar is not None:
        return int(bar.open_time[0])
    duration = Timeframe.parse(stream.timeframe).duration
    for row in (before, after):
        if row.last_close_time - row.first_open_time != row.bars * duration:
            return None
    return before.first_open_time + index * duration if before.first_open_time == after.first_open_time else None


def _shown(column: str, value: Any) -> Any:
    return iso(value) if column in ("open_time", "close_time") else value


def _span(row: DataStreamRow) -> str:
    return f"{row.bars:,} bars, {iso(row.first_open_time)} to {iso(row.last_close_time)}"


def _order(streams: Sequence[DataStreamRow]) -> list[str]:
    return [f"{row.symbol} {row.timeframe}" for row in streams]
