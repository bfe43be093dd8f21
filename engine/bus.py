"""The event bus: who is told of what, in which order.

Handlers of one event type are called in the order in which they subscribed; nothing else decides (no address, no
hash). The loop takes `handlers(...)` once, at its start, so that publishing costs one call a handler.
"""

from collections.abc import Callable
from typing import Any

Handler = Callable[[Any], None]


class Bus:
    """Publish and subscribe by event class, synchronously."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Handler]] = {}

    def subscribe(self, kind: type, handler: Handler) -> None:
        """Call `handler` with every published event whose class is `kind`."""
        self._handlers.setdefault(kind, []).append(handler)

    def handlers(self, kind: type) -> tuple[Handler, ...]:
        """Return the handlers of an event class, in calling order."""
        return tuple(self._handlers.get(kind, ()))

    def publish(self, event: Any) -> None:
        """Call every handler of the event's class. An exception of a handler is not caught."""
        for handler in self._handlers.get(type(event), ()):
            handler(event)
