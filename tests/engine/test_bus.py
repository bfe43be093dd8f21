"""Who is told of what, in which order."""

import pytest

from engine.bus import Bus


class Loud(str):
    """An event of a class of its own."""


def test_handlers_are_called_in_the_order_they_subscribed_in() -> None:
    bus, heard = Bus(), []
    for name in "cab":
        bus.subscribe(str, lambda event, name=name: heard.append((name, event)))  # type: ignore[misc]
    bus.publish("hello")
    assert heard == [("c", "hello"), ("a", "hello"), ("b", "hello")]


def test_only_the_class_itself_is_meant() -> None:
    bus, heard = Bus(), []
    bus.subscribe(str, heard.append)
    bus.publish(Loud("hello"))
    bus.publish(5)
    assert heard == []
    assert bus.handlers(Loud) == ()


def test_a_handler_that_subscribes_another_does_not_disturb_the_round() -> None:
    bus, heard = Bus(), []

    def first(event: str) -> None:
        heard.append("first")
        bus.subscribe(int, heard.append)

    bus.subscribe(str, first)
    taken = bus.handlers(str)
    bus.publish("x")
    bus.publish(7)
    assert heard == ["first", 7]
    assert taken == (first,)


def test_what_a_handler_raises_is_not_caught() -> None:
    bus = Bus()
    bus.subscribe(str, lambda event: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bus.publish("x")
