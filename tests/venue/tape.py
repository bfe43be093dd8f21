"""What the made-up participants do: which trades print inside a bar, and what the market makers quote around them.

Everything is a pure function of the seed, the symbol, the bar and the print's number, so a market without orders of
ours needs no book at all, and looks the same as one that had a book all along.

A bar is played as its open, its nearer extreme, the other one and its close, with prints in between; their volumes add
up to the bar's, to the lot. Without orders of ours the candles that the venue shows are the bars that it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from tests.venue.orders import Side

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Return 64 well mixed bits of some integers (splitmix64)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state + number * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def key_of(seed: int, *names: str) -> int:
    """Return a number for a seed and some names, the same in every process."""
    return int.from_bytes(sha256("\0".join((str(seed), *names)).encode()).digest()[:8])


class TapeBar(NamedTuple):
    """One bar to play. Times in milliseconds, prices in ticks, volume in lots."""

    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class Print(NamedTuple):
    """A trade that the made-up takers are about to make."""

    time: int
    price: int
    quantity: int
    side: Side


@dataclass(frozen=True)
class Habits:
    """How the made-up participants behave.

    Args:
        prints_per_bar: trades in one bar, at least its four corners if they differ.
        levels: of the makers' quotes on each side.
        spread: between their best bid and ask, a fraction of the price; at least one tick.
        step: between two levels, a fraction of the price; at least one tick.
        depth: lots in a level, as a fraction of a usual bar's volume.
    """

    prints_per_bar: int = 10
    levels: int = 20
    spread: float = 0.00002
    step: float = 0.0001
    depth: float = 0.25


def prints_of(bar: TapeBar, duration: int, key: int, habits: Habits) -> list[Print]:
    """Return the trades of one bar in order of time. `duration` in milliseconds."""
    corners = _corners(bar)
    if bar.volume == 0 and len(corners) == 1:
        return []
    number = bar.open_time // duration
    volume = max(bar.volume, len(corners))
    count = max(len(corners), min(habits.prints_per_bar, volume))
    prices = _walk(corners, count, key, number)
    quantities = _shares(volume, count, key, number)
    times = _times(bar.open_time, duration, count, key, number)
    before = bar.open + (1 if bar.close < bar.open else -1)
    prints = []
    for time, price, quantity in zip(times, prices, quantities, strict=True):
        is_buy = price > before or (price == before and mix(key, number, time) & 1 == 0)
        prints.append(Print(time, price, quantity, "buy" if is_buy else "sell"))
        before = price
    return prints


def _corners(bar: TapeBar) -> list[int]:
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    path = [bar.open]
    for price in (*extremes, bar.close):
        if price != path[-1]:
            path.append(price)
    return path


def _walk(corners: list[int], count: int, key: int, number: int) -> list[int]:
    """Return `count` prices that pass through every corner, wandering in between."""
    legs = len(corners) - 1
    if legs == 0:
        return corners * count
    extra, prices = count - len(corners), [corners[0]]
    for leg in range(legs):
        start, end = corners[leg], corners[leg + 1]
        inner = extra // legs + (leg < extra % legs)
        for step in range(1, inner + 1):
            share = (step * 1000 + mix(key, number, leg, step) % 1000 - 500) / ((inner + 1) * 1000)
            prices.append(start + round((end - start) * share))
        prices.append(end)
    return prices


def _shares(volume: int, count: int, key: int, number: int) -> list[int]:
    """Split a volume into `count` parts of at least one lot."""
    weights = [100 + mix(key, number, place, 77) % 900 for place in range(count)]
    total, spare = sum(weights), volume - count
    parts = [1 + spare * weight // total for weight in weights]
    parts[-1] += volume - sum(parts)
    return parts


def _times(open_time: int, duration: int, count: int, key: int, number: int) -> list[int]:
    """Return times inside the bar: the first right after the open, the last right before the close."""
    if count == 1:
        return [open_time + 1 + mix(key, number, 5) % max(1, duration - 2)]
    room = duration - 2
    edge = max(1, min(room // (2 * count), 900))
    first = open_time + 1 + mix(key, number, 5) % edge
    last = open_time + duration - 1 - mix(key, number, 6) % edge
    return [first + (last - first) * place // (count - 1) for place in range(count)]


def ladder(anchor: Print, bar_number: int, typical: int, key: int,
           habits: Habits) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the makers' bids and asks after a print: price in ticks and lots, best first.

    Args:
        anchor: the last print; it was at the ask if a buyer made it, else at the bid.
        typical: lots in a usual bar.
    """
    spread = max(1, int(anchor.price * habits.spread))
    step = max(1, int(anchor.price * habits.step))
    best_bid = anchor.price - spread if anchor.side == "buy" else anchor.price
    best_ask = best_bid + spread
    unit = max(1, int(typical * habits.depth))

    def level(price: int, place: int) -> tuple[int, int]:
        share = 500 + mix(key, price, bar_number) % 1000
        return price, max(1, unit * share * (4 + place) // 4000)

    return ([level(price, place) for place in range(habits.levels) if (price := best_bid - place * step) > 0],
            [level(best_ask + place * step, place) for place in range(habits.levels)])
