"""A venue's candles as they really come: forming, final, doubled, out of order, lost, late and changed. From a seed."""

from dataclasses import dataclass
from random import Random

from engine.bars import MINUTE, SECOND, Stream
from feeds.bar_closing import BarCloser, Closed, Missing, Outcome, Revised
from feeds.candles import Candle

STREAM = Stream("BTC/USDT", "1m")
START = 1_700_000_040 * SECOND // MINUTE * MINUTE
GRACE = 2 * SECOND


@dataclass
class Message:
    """One message of the venue's stream; `at` is when it is heard."""

    at: float
    candle: Candle
    is_final: bool


def true_candle(random: Random, bar: int) -> Candle:
    price = 100 + random.randrange(-20, 21)
    return Candle(
        START + bar * MINUTE, price, price + random.randrange(1, 5), price - random.randrange(1, 5), price,
        random.randrange(1, 50))


def forming(candle: Candle, share: float) -> Candle:
    """Return a candle as it was while some of its trades were still to come."""
    return candle._replace(high=candle.open, low=candle.open, close=candle.open, volume=candle.volume * share)


class World:
    """A venue whose candles are known, and a closer that hears of them through a bad line."""

    def __init__(
        self, seed: int, *, bars: int = 12, has_final_word: bool = True, loses: float = 0.0, shuffles: bool = False,
        doubles: float = 0.0, revises: float = 0.0, quiet: float = 0.0, outages: int = 0,
    ) -> None:
        self.random = random = Random(seed)
        self.quiet = {bar for bar in range(1, bars - 1) if random.random() < quiet}
        self.truth = {bar: true_candle(random, bar) for bar in range(bars) if bar not in self.quiet}
        self.first_truth = dict(self.truth)
        self.bars = bars
        self.outcomes: list[Outcome] = []
        self.revised_at: dict[int, float] = {}
        for bar in self.truth:
            if random.random() < revises:
                self.revised_at[bar] = (bar + 1) * 60 + random.uniform(5, 200)
        self.breaks = sorted(random.uniform(0, bars * 60 - 150) for _ in range(outages))
        self.messages = self._messages(has_final_word, loses, shuffles, doubles)
        self.closer = BarCloser(
            STREAM, next_open=START, grace=GRACE, is_every_change_sent=not has_final_word)

    def _messages(self, has_final_word: bool, loses: float, shuffles: bool, doubles: float) -> list[Message]:
        random, sent = self.random, []
        for bar, candle in self.truth.items():
            opened = bar * 60
            shares = sorted(random.uniform(0.05, 0.95) for _ in range(random.randrange(0, 4)))
            sent += [Message(opened + share * 60, forming(candle, share), False) for share in shares]
            sent.append(Message(opened + 59.9, candle, False))
            if has_final_word:
                sent.append(Message(opened + 60.05 + random.uniform(0, 0.5), candle, True))
        heard = [one for one in sent if random.random() >= loses and not self.is_down(one.at)]
        heard += [one for one in heard if random.random() < doubles]
        if shuffles:
            heard = [Message(one.at + random.uniform(0, 90), one.candle, one.is_final) for one in heard]
        return sorted(heard, key=lambda one: one.at)

    def is_down(self, at: float) -> bool:
        return any(start <= at < start + 70 for start in self.breaks)

    def answer(self, since: int, at: float) -> list[Candle]:
        """Return what the venue's REST interface says at a moment; its last row is still forming."""
        rows = []
        for bar, candle in self.truth.items():
            opened = bar * 60
            if candle.open_time < since or opened > at:
                continue
            if bar in self.revised_at and at >= self.revised_at[bar]:
                candle = candle._replace(volume=candle.volume + 7)
            # The venue's own answers lack the last trades until a while after the close.
            rows.append(candle if at >= opened + 60 + GRACE / SECOND / 2 else forming(candle, 0.9))
        return rows

    def run(self, *, asks: bool = True, until: float | None = None) -> list[Outcome]:
        at, step, waiting = 0.0, 0.5, list(self.messages)
        end = until or self.bars * 60 + 60
        breaks = [moment for start in self.breaks for moment in (start, start + 70)]
        while at < end:
            at += step
            now = START + round(at * SECOND)
            if any(at - step < moment <= at for moment in breaks):
                self.closer.broke()
            while waiting and waiting[0].at <= at:
                one = waiting.pop(0)
                self.closer.saw(one.candle, now, is_final=one.is_final)
            since = self.closer.due(now)
            if asks and since is not None and not self.is_down(at) and self.random.random() < 0.3:
                self.closer.answered(self.answer(since, at), since=since, asked_at=now)
            self.outcomes += self.closer.take()
        return self.outcomes

    @property
    def published(self) -> list[Candle]:
        return [
            Candle(one.bar.open_time, *one.bar[3:8]) for one in self.outcomes if isinstance(one, Closed)
        ]

    @property
    def missing(self) -> list[int]:
        gaps = [one for one in self.outcomes if isinstance(one, Missing)]
        return [one.open_time + nth * MINUTE for one in gaps for nth in range(one.bars)]

    @property
    def revisions(self) -> list[Revised]:
        return [one for one in self.outcomes if isinstance(one, Revised)]
