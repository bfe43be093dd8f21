"""The inputs of a session from several threads, in one order: that of their arrival."""

import queue
import time
from threading import Lock

from engine.errors import VenueError
from engine.live.inputs import Input


class QueueSource:
    """An `InputSource` that any thread may put inputs into, and one thread takes them out of.

    Two inputs of one producer stay in its order; of several, whichever came first. Nothing is ever dropped: a queue
    that grows is a session that cannot keep up, and `depth` says so.
    """

    def __init__(self) -> None:
        self._inputs: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
        self._lock = Lock()
        self._failure: VenueError | None = None
        self._put = 0
        self._taken = 0
        self._deepest = 0

    @property
    def depth(self) -> int:
        """How many inputs wait."""
        return self._put - self._taken

    @property
    def deepest(self) -> int:
        """How many have waited at most."""
        return self._deepest

    @property
    def count(self) -> int:
        """How many have been put in, in all."""
        return self._put

    def put(self, *inputs: Input) -> None:
        """Add inputs, together: no other thread's come between them. Returns at once."""
        with self._lock:
            for one in inputs:
                self._inputs.put(one)
            self._put += len(inputs)
            self._deepest = max(self._deepest, self._put - self._taken)
        # Let a thread that waits have the interpreter at once. Without this it waits until we next block: 15 to 20 ms
        # while a feed reads on through 500 messages that came together.
        time.sleep(0)

    def fail(self, error: VenueError) -> None:
        """Let `take` raise an error, once what is in the queue has been taken; of several, the first counts."""
        with self._lock:
            if self._failure is None:
                self._failure = error
                self._inputs.put(None)  # wakes a thread that waits

    def take(self, timeout: float) -> Input | None:
        """Return the next input; None if there is none within `timeout` seconds.

        Raises:
            VenueError: a producer has failed for good, and everything before that has been taken.
        """
        try:
            taken = self._inputs.get(timeout=max(timeout, 0))
        except queue.Empty:
            taken = None
        if taken is not None:
            self._taken += 1
            return taken
        if self._failure is not None and self._inputs.empty():
            raise self._failure
        return self.take(0) if self._failure is not None else None
