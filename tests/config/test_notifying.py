"""Notifications reach a webhook on this machine, are rate-limited, and never stop anything."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from config.notifying import Notifier, apprise_send, make_notifier
from engine.errors import SettingsError


class Webhook:
    """A web server on this machine that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answer = 200
        self.came = Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posted.append(json.loads(body))
                self.send_response(hook.answer)
                self.end_headers()
                hook.came.set()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def test_a_message_reaches_the_webhook(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARCAST_DESK_ADDRESS", webhook.address)
    complaints: list[str] = []
    notifier = make_notifier(["BARCAST_DESK_ADDRESS"], "barcast run 3", complaints.append)
    assert notifier is not None
    assert notifier.tell("error", "halted: lost too much")
    notifier.close()
    [message] = webhook.posted
    assert (message["title"], message["message"], message["type"]) == (
        "barcast run 3", "halted: lost too much", "failure")
    assert (notifier.delivered, notifier.failed, complaints) == (1, 0, [])


def test_an_address_that_refuses_is_counted_and_complained_of(webhook: Webhook) -> None:
    webhook.answer = 500
    complaints: list[str] = []
    notifier = Notifier(apprise_send([webhook.address]), "t", complain=complaints.append)
    notifier.tell("info", "x")
    notifier.close()
    assert (notifier.delivered, notifier.failed) == (0, 1)
    assert complaints == ["a notification was not taken by every address"]


def test_a_messenger_that_raises_or_hangs_holds_nobody_up() -> None:
    hold, complaints = Event(), []

    def send(level: str, title: str, text: str) -> bool:
        if text == "hangs":
            hold.wait(120)
            return True
        raise RuntimeError("no route to json://user:pass@host")

    notifier = Notifier(send, "t", complain=complaints.append)
    assert notifier.tell("info", "raises")
    assert notifier.tell("info", "hangs"), "the caller goes on at once"
    notifier.close(timeout=0.1)
    hold.set()
    notifier.close()
    assert "a notification failed: RuntimeError: no route" in complaints[0]


def test_messages_are_limited_and_repetitions_left_out() -> None:
    sent: list[str] = []
    clock = [0.0]

    def send(level: str, title: str, text: str) -> bool:
        sent.append(text)
        return True

    notifier = Notifier(send, "t", most=3, window=60, now=lambda: clock[0])
    assert [notifier.tell("info", text) for text in ("a", "b", "a", "c", "d", "e")] == [
        True, True, False, True, False, False]
    clock[0] = 61
    assert notifier.tell("info", "f")
    assert notifier.tell("info", "a"), "the window is over"
    notifier.close()
    assert sent == ["a", "b", "c", "f\n(2 further messages were held back; the journal has them)", "a"]


def test_addresses_that_are_missing_or_not_understood_are_refused_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert make_notifier([], "t", print) is None
    with pytest.raises(SettingsError, match="there is no BARCAST_NO_ADDRESS in the environment"):
        make_notifier(["BARCAST_NO_ADDRESS"], "t", print)
    monkeypatch.setenv("BARCAST_DESK_ADDRESS", "nonsense-secret")
    with pytest.raises(SettingsError, match="address 1 of live.notify is not understood; expected one of") as refused:
        make_notifier(["BARCAST_DESK_ADDRESS"], "t", print)
    assert "nonsense-secret" not in str(refused.value)
