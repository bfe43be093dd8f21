"""One thread that does what it is handed, in order, while the loop goes on."""

from collections.abc import Callable
from queue import Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_WAITING = 16
"""How many pieces of work may wait before `put` does too. The loop hands over some 5 000 rows at a time."""


class Writer(Generic[T]):
    """Hands work to its thread. The first failure stops it for good: later work is dropped, never done out of order.

    Args:
        work: does one piece; called in the thread only.
    """

    def __init__(self, work: Callable[[T], None]) -> None:
        self.error: BaseException | None = None
        """What went wrong in the thread; look at it before trusting that earlier work was done."""
        self._work = work
        self._queue: Queue[T | Event | None] = Queue(_WAITING)
        # A daemon: a process that ends without closing its journal must not hang. SqlJournal closes it at exit.
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, piece: T) -> None:
        """Hand over a piece of work; wait only while too many are waiting already."""
        self._queue.put(piece)

    def flush(self) -> None:
        """Wait until everything handed over so far is done, or has failed."""
        done = Event()
        self._queue.put(done)
        done.wait()

    def close(self) -> None:
        """Finish what was handed over and end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, Event):
                piece.set()
            elif self.error is None:
                try:
                    self._work(piece)
                except BaseException as exc:  # noqa: BLE001  the edge of a thread: the other one must hear of it
                    self.error = exc
