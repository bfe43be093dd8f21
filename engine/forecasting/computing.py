"""Answers to requests: from the store where it has them, else from the model, in batches that fit.

Backtest and paper trading come through the same function; they differ in how many requests they bring at once.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import perf_counter
from typing import NamedTuple

import numpy as np

from engine.bars import iso
from engine.errors import DataError, EngineError, PluginError
from engine.forecasting.store import ForecastStore, as_bytes, from_bytes
from engine.forecasting.windows import Cut, Request, WindowCutter
from engine.forecasts import Float32Array, Forecaster

BATCH = 256
"""Requests looked up, computed and stored together."""
READY = 4
"""Batches that wait for the loop at most: what is computed ahead stays within them."""

_NUMBERS = "fiub"
"""Kinds of numpy's types that are numbers: floats, whole numbers, truths."""

Told = Callable[[str, int, int], None]
"""Told of (model, forecasts ready, forecasts in all) after every batch."""


class Answer(NamedTuple):
    """The values of one request, shape as its spec says, and what it was made from."""

    values: Float32Array
    cut: Cut


@dataclass
class Work:
    """What a run's forecasts of one model took. `calls` of the model, `computed` by it, `stored`: found in the store;
    `seconds` within the model; `shrunk`: sizes of batches that did not fit into memory; `unstored`: why the store was
    given up in the midst of the run, empty if it was not."""

    calls: int = 0
    computed: int = 0
    stored: int = 0
    seconds: float = 0.0
    shrunk: tuple[int, ...] = ()
    unstored: str = ""


class Computer:
    """Answers requests to one model.

    Args:
        store: None computes everything anew; a model without a hash is never stored: nobody could tell its versions
            apart. One that fails in the midst of a run (its disk is full, its file damaged) is given up: it holds
            nothing that cannot be computed again, and a run is worth more.
        batch: requests shown to the model at once, at most; halved, for good, when it runs out of memory.
    """

    def __init__(self, cutter: WindowCutter, forecaster: Forecaster, store: ForecastStore | None, batch: int) -> None:
        self.cutter = cutter
        self.work = Work()
        self._forecaster = forecaster
        self._store = store if cutter.spec.model_hash else None
        self._batch = max(batch, 1)

    def answers(self, requests: Sequence[Request], *, fills: bool = False) -> list[Answer]:
        """Return an answer for each request.

        Args:
            fills: whether a batch that is not full is filled up, if the model asks for it.
        Raises:
            PluginError: the model raised, or answered in another shape than its spec's.
        """
        cuts = [self.cutter.cut(request) for request in requests]
        values = self._stored(cuts)
        missing = [place for place, value in enumerate(values) if value is None]
        start = 0
        while start < len(missing):
            places = missing[start : start + self._batch]
            shown = places
            if fills and self.cutter.spec.keeps_batches:
                shown = places + places[-1:] * (self._batch - len(places))
            made = self._made([requests[place] for place in shown], [cuts[place].seed for place in shown])
            if made is None:
                continue  # with half the batch
            made = made[: len(places)]
            self.work.computed += len(places)
            for place, value in zip(places, made, strict=True):
                values[place] = value
            if self._store is not None:
                keyed = ((cuts[place].key, as_bytes(value)) for place, value in zip(places, made, strict=True))
                try:
                    self._store.put(self.cutter.spec.model_hash, keyed)
                except DataError as exc:
                    self._give_up(exc)
            start += len(places)
        return [Answer(value, cut) for value, cut in zip(values, cuts, strict=True) if value is not None]

    def _stored(self, cuts: Sequence[Cut]) -> list[Float32Array | None]:
        if self._store is None:
            return [None] * len(cuts)
        shape = self.cutter.spec.shape
        try:
            found = self._store.get([cut.key for cut in cuts])
        except DataError as exc:
            self._give_up(exc)
            return [None] * len(cuts)
        values = [from_bytes(found[cut.key], shape) if cut.key in found else None for cut in cuts]
        self.work.stored += sum(value is not None for value in values)
        return values

    def _give_up(self, error: DataError) -> None:
        self._store = None
        self.work.unstored = str(error)

    def _made(self, requests: Sequence[Request], seeds: Sequence[int]) -> Float32Array | None:
        """Return the model's answers; None if they did not fit into memory, and the batch is halved now."""
        spec, work = self.cutter.spec, self.work
        windows = self.cutter.windows(requests, seeds)
        started = perf_counter()
        try:
            # A copy: a model may answer out of one buffer every time.
            answered = np.array(self._forecaster.forecast(windows).values)
        except MemoryError as exc:
            if len(requests) == 1:
                raise PluginError(
                    f"forecaster {spec.name}: not even one window of {spec.lookback} bars fits into memory "
                    f"({exc or 'MemoryError'}); use a smaller model or another device"
                ) from exc
            work.shrunk += (len(requests),)
            self._batch = len(requests) // 2
            return None
        except EngineError:
            raise
        except (Exception, SystemExit) as exc:  # whatever a model raises, the message must say which and on what
            first = requests[0]
            symbol = self.cutter.histories[first.place].stream.symbol
            raise PluginError(
                f"forecaster {spec.name} failed on {len(requests)} windows, the first of {symbol} at "
                f"{iso(first.as_of)}: {type(exc).__name__}: {exc}"
            ) from exc
        work.seconds += perf_counter() - started
        work.calls += 1
        wanted = (len(requests), *spec.shape)
        if answered.shape != wanted:
            raise PluginError(
                f"forecaster {spec.name} answered with shape {list(answered.shape)}; expected {list(wanted)}: one "
                f"{spec.kind} of shape {list(spec.shape)} a window"
            )
        if answered.dtype.kind not in _NUMBERS:
            raise PluginError(
                f"forecaster {spec.name} answered with values of type {answered.dtype}; expected numbers, float32"
            )
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and told as such
            return answered.astype(np.float32, copy=False)


class Ahead:
    """Answers made ahead of the loop, in the order in which the loop needs them.

    A thread computes batch after batch while the loop runs, and waits when READY of them are not taken yet.

    Args:
        requests: by time, then in feed order.
        told: told of progress, from the thread.
    """

    def __init__(self, computer: Computer, requests: Sequence[Request], batch: int, told: Told | None) -> None:
        self._computer = computer
        self._requests = requests
        self._batch = batch
        self._told = told
        self._ready: Queue[list[Answer] | BaseException] = Queue(READY)
        self._taken: deque[Answer] = deque()
        self._stop = Event()
        name = computer.cutter.spec.name
        self._thread = Thread(target=self._work, name=f"forecasts of {name}", daemon=True)

    def start(self) -> None:
        """Begin computing."""
        self._thread.start()

    def take(self, count: int) -> list[Answer]:
        """Return the next answers, as soon as they are there.

        Raises:
            PluginError: the model failed.
        """
        while len(self._taken) < count:
            got = self._ready.get()
            if isinstance(got, BaseException):
                self._ready.put(got)  # whoever asks again gets it again
                raise got
            self._taken.extend(got)
        return [self._taken.popleft() for _ in range(count)]

    def close(self) -> None:
        """Stop computing; what is being computed is thrown away."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except Empty:
                self._thread.join(0.01)

    def _work(self) -> None:
        try:
            for done, batch in self._batches():
                if self._stop.is_set():
                    return
                answers = self._computer.answers(batch, fills=True)
                if self._told is not None:
                    self._told(self._computer.cutter.spec.name, done, len(self._requests))
                if not self._handed_over(answers):
                    return
        except BaseException as exc:  # noqa: BLE001  it belongs to the loop, which waits for the answers
            self._handed_over(exc)

    def _batches(self) -> Iterator[tuple[int, Sequence[Request]]]:
        for start in range(0, len(self._requests), self._batch):
            part = self._requests[start : start + self._batch]
            yield start + len(part), part

    def _handed_over(self, what: list[Answer] | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(what, timeout=0.1)
            except Full:
                continue
            return True
        return False
