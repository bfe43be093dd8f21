"""What a journal keeps of a run's bars: enough to find the first that differs later, far too little to rebuild them.

A stream is cut into blocks. Of each block there is the open time of its first bar and, modulo 2**64, the sum of every
column's bit patterns, the sum of its bars' hashes, and that sum again with each hash times the bar's place. Sums tell
more than a hash of the block would: where a single bar of a block changed, the two sums of hashes give its place, and
the difference of a column's sums gives the old value back, to the last bit. Sixteen bits of each bar's hash, kept up to
`MOST_ROW_CHECKS` bars, give the place of the first difference whatever changed: many bars, one that is gone, one that
came in between.

A million bars of one stream make 0.35 MB of blocks and 2 MB of bar checks, kept once however many runs read the data.
Whether two streams are equal is their digests' business (SHA-256); these are for finding the place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.bars import Bars, IntArray
from engine.records import DataStreamRow

WordArray = npt.NDArray[np.uint64]
CheckArray = npt.NDArray[np.uint16]

COLUMNS = ("open_time", "close_time", "open", "high", "low", "close", "volume", "flags")
"""What a bar is made of; `flags` are those of engine.bars."""

MOST_ROW_CHECKS = 1_048_576
"""Bars of a run of which a check each is kept, 2 MB in all; of more, blocks alone."""

_FEWEST_BLOCK_BARS, _MOST_BLOCKS = 256, 4_096
_HASHES, _PLACED = len(COLUMNS), len(COLUMNS) + 1
_SUMS = len(COLUMNS) + 2
_STEP = 16_384
"""Bars that are summed at a time: their columns fit into the processor's cache."""

# Odd, so that multiplying loses nothing: multiples of 2**64 ÷ the golden ratio, and a factor of splitmix64.
_FACTORS = tuple(
    np.uint64(0x9E37_79B9_7F4A_7C15 * (2 * place + 1) % 2**64 | 1) for place in range(1, len(COLUMNS) + 1)
)
_MIX = np.uint64(0xBF58_476D_1CE4_E5B9)
_HALF, _TOP = np.uint64(32), np.uint64(48)


@dataclass(frozen=True)
class StreamChecks:
    """The checks of one stream.

    Args:
        starts: int64 [blocks]: open time of each block's first bar, UTC ns.
        sums: uint64 [blocks, 10]: of `COLUMNS`, of the hashes, and of the hashes times the bar's place in its block.
        row_checks: uint16 [bars]; None where there were too many.
    """

    bars: int
    block_bars: int
    starts: IntArray
    sums: WordArray
    row_checks: CheckArray | None = None

    def blocks_as_bytes(self) -> bytes:
        """Return starts and sums, little-endian."""
        return self.starts.astype("<i8").tobytes() + self.sums.astype("<u8").tobytes()

    def row_checks_as_bytes(self) -> bytes | None:
        """Return the bars' checks, little-endian."""
        return None if self.row_checks is None else self.row_checks.astype("<u2").tobytes()


def checks_in(row: DataStreamRow) -> StreamChecks | None:
    """Return the checks that a row of the journal holds, None if it holds none, or none that fit it."""
    if row.blocks is None:
        return None
    blocks = -(-row.bars // row.block_bars)
    if len(row.blocks) != 8 * blocks * (1 + _SUMS):
        return None
    starts = np.frombuffer(row.blocks, "<i8", blocks).astype(np.int64)
    sums = np.frombuffer(row.blocks, "<u8", offset=8 * blocks).astype(np.uint64).reshape(blocks, _SUMS)
    checks = None if row.row_checks is None else np.frombuffer(row.row_checks, "<u2").astype(np.uint16)
    return StreamChecks(row.bars, row.block_bars, starts, sums, checks)


def block_bars_for(bars: int) -> int:
    """Return how many bars a block of a stream of that length has: a power of two, 256 or more."""
    size = _FEWEST_BLOCK_BARS
    while size * _MOST_BLOCKS < bars:
        size *= 2
    return size


def in_blocks_of(checks: StreamChecks, block_bars: int) -> StreamChecks:
    """Return the checks for blocks of another size, a multiple of theirs.

    Raises:
        ValueError: it is no multiple.
    """
    times, rest = divmod(block_bars, checks.block_bars)
    if rest:
        raise ValueError(f"blocks of {block_bars} bars cannot be made of blocks of {checks.block_bars}")
    cuts = np.arange(0, len(checks.sums), times)
    sums = checks.sums.copy()
    offsets = (np.arange(len(sums)) % times * checks.block_bars).astype(np.uint64)
    sums[:, _PLACED] += offsets * sums[:, _HASHES]  # a place in the larger block
    joined = np.add.reduceat(sums, cuts, axis=0) if len(cuts) else sums
    return StreamChecks(checks.bars, block_bars, checks.starts[cuts], joined, checks.row_checks)


class ChecksBuilder:
    """Takes the checks of one stream from its chunks, in order.

    Args:
        block_bars: bars in a block; with_rows: whether every bar gets a check.
    """

    def __init__(self, block_bars: int, *, with_rows: bool) -> None:
        self._block_bars = block_bars
        self._bars = 0
        self._starts: list[IntArray] = []
        self._sums: list[WordArray] = []
        self._checks: list[CheckArray] | None = [] if with_rows else None

    def update(self, bars: Bars) -> None:
        """Add bars, all of the one stream."""
        for start in range(0, len(bars), _STEP):
            self._add(bars[start : start + _STEP])

    def checks(self) -> StreamChecks:
        """Return the checks of the bars so far."""
        starts = np.concatenate(self._starts) if self._starts else np.empty(0, np.int64)
        sums = np.concatenate(self._sums) if self._sums else np.empty((0, _SUMS), np.uint64)
        rows = None if self._checks is None else np.concatenate([np.empty(0, np.uint16), *self._checks])
        return StreamChecks(self._bars, self._block_bars, starts, sums, rows)

    def _add(self, bars: Bars) -> None:
        first, count = self._bars % self._block_bars, len(bars)
        words = [_words(bars, name) for name in COLUMNS]
        hashes = _hashes(words)
        places = np.arange(first, first + count, dtype=np.uint64) & np.uint64(self._block_bars - 1)
        # Where blocks begin within these rows; the rows before the first one finish a block that was begun earlier.
        cuts = np.arange(-first % self._block_bars, count, self._block_bars)
        cuts = cuts if len(cuts) and cuts[0] == 0 else np.concatenate(([0], cuts))
        sums = np.zeros((len(cuts), _SUMS), np.uint64)
        for column, values in enumerate((*words, hashes, hashes * places)):
            if values is not None:
                sums[:, column] = np.add.reduceat(values, cuts)
        starts = bars.open_time[cuts].astype(np.int64)
        if first and self._sums:
            self._sums[-1][-1] += sums[0]
            sums, starts = sums[1:], starts[1:]
        if len(starts):
            self._sums.append(sums)
            self._starts.append(starts)
        if self._checks is not None:
            self._checks.append((hashes >> _TOP).astype(np.uint16))
        self._bars += count


def checks_of(bars: Bars, *, block_bars: int | None = None, with_rows: bool = True) -> StreamChecks:
    """Return the checks of the whole of one stream."""
    builder = ChecksBuilder(block_bars or block_bars_for(len(bars)), with_rows=with_rows)
    builder.update(bars)
    return builder.checks()


@dataclass(frozen=True)
class Place:
    """Where two versions of a stream first differ.

    Args:
        index: the bar's number from 0; None if only its block is known.
        first, last: the bars among which the first difference lies, last excluded.
        differing: how many bars of the block differ; None if that is not known.
        columns: which columns differ within the block.
        deltas: now - then of each of these columns modulo 2**64, if exactly one bar of the block differs.
        shift: bars that came in (above 0) or are gone (below 0) at `index`; 0 if bars changed where they are.
    """

    index: int | None
    first: int
    last: int
    differing: int | None
    columns: tuple[str, ...]
    deltas: tuple[int, ...] | None = None
    shift: int = 0


def first_difference(then: StreamChecks, now: StreamChecks) -> Place | None:
    """Return where two versions of a stream first differ, None if nothing does."""
    size = max(then.block_bars, now.block_bars)
    then, now = in_blocks_of(then, size), in_blocks_of(now, size)
    blocks = min(len(then.sums), len(now.sums))
    differs = (then.sums[:blocks] != now.sums[:blocks]).any(axis=1)
    if not differs.any():
        if then.bars == now.bars:
            return None
        shared = min(then.bars, now.bars)  # a whole number of blocks, and the rest of the longer one
        return Place(shared, shared, shared + 1, None, (), shift=now.bars - then.bars)
    return _within(then, now, int(differs.argmax()))


def value_before(column: str, now: Any, delta: int) -> Any:
    """Return what a column held, from what it holds now and the difference of the bit patterns."""
    if column in ("open_time", "close_time", "flags"):
        word = (int(now) - delta) % 2**64
        return word - 2**64 if word >= 2**63 else word
    word = (int(np.float64(now).view(np.uint64)) - delta) % 2**64
    return float(np.uint64(word).view(np.float64))


def value_in(bars: Bars, column: str, row: int) -> Any:
    """Return a value of one bar as Python has it."""
    if column == "flags":
        return 0 if bars.flags is None else int(bars.flags[row])
    return getattr(bars, column)[row].item()


def _within(then: StreamChecks, now: StreamChecks, block: int) -> Place:
    first = block * then.block_bars
    last = min(first + then.block_bars, max(then.bars, now.bars))
    change = now.sums[block] - then.sums[block]
    columns = tuple(name for name, delta in zip(COLUMNS, change.tolist(), strict=False) if delta)
    deltas = tuple(delta for delta in change[: len(COLUMNS)].tolist() if delta)
    # The place of a single changed bar: its change of hash, times its place, is the change of the sum with places.
    candidates = np.arange(last - first, dtype=np.uint64)
    fits = np.flatnonzero(candidates * change[_HASHES] == change[_PLACED])
    changed = None
    if change[_HASHES] and len(fits) == 1:
        changed = Place(first + int(fits[0]), first, last, 1, columns, deltas)
    if changed is not None and then.bars == now.bars:
        return changed
    if then.row_checks is None or now.row_checks is None:
        return Place(None, first, last, None, columns)
    # Where a bar is gone, a block may well look as if its last bar had changed: the next one moved up.
    place = _by_row_checks(then.row_checks, now.row_checks, first, last, columns)
    return changed if changed is not None and not place.shift and place.index == changed.index else place


def _by_row_checks(then: CheckArray, now: CheckArray, first: int, last: int, columns: tuple[str, ...]) -> Place:
    shared = min(last, len(then), len(now))
    differs = np.flatnonzero(then[first:shared] != now[first:shared])
    if not len(differs):
        if shared < last:
            return Place(shared, first, last, None, (), shift=len(now) - len(then))
        return Place(None, first, last, None, columns)  # one time in 65 536 a changed bar's check is what it was
    index = first + int(differs[0])
    shift = len(now) - len(then)
    if shift:
        came_in, gone = max(shift, 0), max(-shift, 0)
        ours, theirs = now[index + came_in : last + came_in], then[index + gone : last + gone]
        length = min(len(ours), len(theirs))
        if np.array_equal(ours[:length], theirs[:length]):
            return Place(index, first, last, None, (), shift=shift)
    return Place(index, first, last, len(differs), columns)


def _words(bars: Bars, column: str) -> WordArray | None:
    """Return a column as 64-bit words; None where all are 0."""
    if column == "flags":
        return None if bars.flags is None else bars.flags.astype(np.uint64)
    values: npt.NDArray[Any] = np.ascontiguousarray(getattr(bars, column))
    if column == "volume":
        values = values + 0.0  # -0.0 is 0.0, as in the digest
    return values.view(np.uint64)


def _hashes(words: Sequence[WordArray | None]) -> WordArray:
    given = [(values, factor) for values, factor in zip(words, _FACTORS, strict=True) if values is not None]
    hashes = given[0][0] * given[0][1]
    for values, factor in given[1:]:
        hashes += values * factor
    # The highest bits, which the checks are made of, hang on every bit of the bar.
    hashes ^= hashes >> _HALF
    hashes *= _MIX
    return hashes
