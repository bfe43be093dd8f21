"""Notifications: what a person should know, sent to the addresses in the environment, never in the session's way.

Addresses are apprise's (a webhook, Telegram, e-mail and a hundred more). A thread of its own sends; whatever goes wrong
there is counted and said in a line, and trading goes on.
"""

import queue
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from threading import Thread
from typing import NamedTuple

from config.secrets import Redactor, secret_of
from engine.errors import SettingsError

MOST = 10
"""Messages within a window; what is more is counted, and told as one when there is room again."""
WINDOW = 600.0
"""Seconds."""

Send = Callable[[str, str, str], bool]
"""Sends a level, a title and a text; returns whether every address took it."""


class Message(NamedTuple):
    level: str
    text: str


class Notifier:
    """Sends messages, at most so many within a window; the same text only once within it.

    Args:
        send: see Send; may be slow, may fail, may raise. title: of every message.
        complain: told of failures, in words without secrets.
    """

    def __init__(
        self, send: Send, title: str, *, most: int = MOST, window: float = WINDOW,
        complain: Callable[[str], None] = lambda text: None, now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send, self._title, self._most, self._window = send, title, most, window
        self._complain, self._now = complain, now
        self._sent: deque[tuple[float, str]] = deque()
        self._held_back = 0
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.delivered = 0
        self.failed = 0
        self._thread = Thread(target=self._work, name="notifications", daemon=True)
        self._thread.start()

    def tell(self, level: str, text: str) -> bool:
        """Hand over a message; return whether it is sent, or held back for being one too many or a repetition."""
        now = self._now()
        while self._sent and self._sent[0][0] <= now - self._window:
            self._sent.popleft()
        if any(text == before for _, before in self._sent):
            return False
        if len(self._sent) >= self._most:
            self._held_back += 1
            return False
        if self._held_back:
            text = f"{text}\n({self._held_back} further messages were held back; the journal has them)"
            self._held_back = 0
        self._sent.append((now, text))
        self._queue.put(Message(level, text))
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Send what is waiting, for a while, and end."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                is_sent = self._send(message.level, self._title, message.text)
            except Exception as exc:  # noqa: BLE001  a messenger may raise anything; other messages follow
                is_sent = False
                self._complain(f"a notification failed: {type(exc).__name__}: {exc}")
            else:
                if not is_sent:
                    self._complain("a notification was not taken by every address")
            self.delivered += is_sent
            self.failed += not is_sent


def apprise_send(addresses: Sequence[str]) -> Send:
    """Return a function that sends through apprise.

    Raises:
        SettingsError: apprise is not installed, or does not understand an address; the address itself is not shown.
    """
    if find_spec("apprise") is None:
        raise SettingsError("live.notify needs the package apprise: pip install -e '.[operate]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of modules that apprise uses, and Python will drop
        apprise = import_module("apprise")
        sender = apprise.Apprise()
        taken = [bool(sender.add(address)) for address in addresses]
    for number, is_taken in enumerate(taken, 1):
        if not is_taken:
            raise SettingsError(
                f"address {number} of live.notify is not understood; expected one of apprise's, such as "
                "json://host/path, tgram://token/chat or mailto://user:password@host")
    kinds = {"error": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}

    def send(level: str, title: str, text: str) -> bool:
        return bool(sender.notify(body=text, title=title, notify_type=kinds.get(level, apprise.NotifyType.INFO)))

    return send


def make_notifier(names: Sequence[str], title: str, complain: Callable[[str], None]) -> Notifier | None:
    """Return who notifies the addresses in the environment variables of these names; None if there are none.

    Raises:
        SettingsError: one is not set, or not understood.
    """
    if not names:
        return None
    addresses = [secret_of(name) for name in names]
    redactor = Redactor(addresses)
    return Notifier(apprise_send(addresses), title, complain=lambda text: complain(redactor.hidden(text)))
