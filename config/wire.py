"""Messages between a run in isolation and the process that keeps its journal: JSON, one a frame, never a pickle.

A pickle runs code where it is read, so one from a plugin that nobody trusts must not be.
"""

import base64
import json
import socket
import struct
from typing import Any

import numpy as np

from engine.errors import PluginError

_HEAD = struct.Struct(">Q")
LARGEST = 1 << 30
"""Bytes of one message; more is no journal batch."""


def encoded(message: Any) -> bytes:
    """Return a message as a frame. Tuples become lists, and bytes come back as bytes."""
    data = json.dumps(message, default=_plain).encode()
    return _HEAD.pack(len(data)) + data


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def decoded(data: bytes) -> Any:
    """Return the message of a frame's content."""
    return json.loads(data, object_hook=_unplain)


def _unplain(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["__bytes__"]) if set(value) == {"__bytes__"} else value


def as_row(values: list[Any]) -> tuple[Any, ...]:
    """Return a row as it was before it was sent."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


class Channel:
    """One end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: Any) -> None:
        """Send a message."""
        self._connection.sendall(encoded(message))

    def receive(self) -> Any:
        """Return the next message; None when the other end is closed.

        Raises:
            TimeoutError: none came within the connection's timeout.
            PluginError: it is too large to be one of ours.
        """
        head = self._exactly(_HEAD.size)
        if head is None:
            return None
        (length,) = _HEAD.unpack(head)
        if length > LARGEST:
            raise PluginError(f"the isolated run sent a message of {length:,} bytes; expected at most {LARGEST:,}")
        data = self._exactly(length)
        return None if data is None else decoded(data)

    def _exactly(self, length: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < length:
            part = self._connection.recv(min(length - len(parts), 1 << 20))
            if not part:
                return None
            parts += part
        return bytes(parts)
