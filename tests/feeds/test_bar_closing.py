from hypothesis import given
from hypothesis import strategies as st

from engine.bars import FORWARD_FILLED, MINUTE, SECOND
from feeds.bar_closing import BarCloser, Closed, Missing, Revised
from feeds.candles import Candle
from tests.feeds.candle_streams import GRACE, START, STREAM, World

SEEDS = st.integers(0, 10_000)


def closer(**options) -> BarCloser:
    return BarCloser(STREAM, next_open=START, grace=GRACE, **options)


def candle(bar: int, close: float = 100.0, volume: float = 1.0) -> Candle:
    return Candle(START + bar * MINUTE, 100.0, 110.0, 90.0, close, volume)


def at(bar: int, seconds: float = 0.0) -> int:
    return START + bar * MINUTE + round(seconds * SECOND)


def closes(outcomes) -> list[float]:
    return [one.bar.close for one in outcomes if isinstance(one, Closed)]


def test_a_forming_candle_is_never_a_bar_however_long_it_has_been_heard_of():
    made = closer()
    for second in range(0, 600, 10):
        made.saw(candle(0), at(0, second))
    assert made.take() == []


def test_the_venue_s_final_word_closes_a_bar_at_once():
    made = closer()
    made.saw(candle(0, 100), at(0, 30))
    made.saw(candle(0, 101), at(1, 0.05), is_final=True)
    (closed,) = made.take()
    assert closed.bar[:3] == ("BTC/USDT", at(0), at(1))
    assert closed.bar.close == 101


def test_a_newer_candle_closes_the_one_before_only_where_every_change_is_sent():
    for is_every_change_sent, expected in ((True, [101]), (False, [])):
        made = closer(is_every_change_sent=is_every_change_sent)
        made.saw(candle(0, 101), at(0, 59))
        made.saw(candle(1, 102), at(1, 1))
        assert closes(made.take()) == expected


def test_a_newer_candle_closes_nothing_that_was_last_heard_of_before_the_line_broke():
    made = closer(is_every_change_sent=True)
    made.saw(candle(0, 101), at(0, 30))
    made.broke()
    made.saw(candle(1, 102), at(1, 1))
    assert made.take() == []
    assert made.due(at(1, 2)) == at(0)
    made.answered([candle(0, 105), candle(1, 102)], since=at(0), asked_at=at(1, 2))
    assert closes(made.take()) == [105]


def test_a_candle_built_from_the_middle_on_is_asked_about():
    made = closer(is_every_change_sent=True)
    made.saw(candle(0), at(0, 30), is_whole=False)
    made.saw(candle(1), at(1, 1))
    assert made.take() == []
    assert made.due(at(1, 2)) == at(0)


def test_an_answer_is_believed_only_if_it_was_asked_for_a_grace_after_the_close():
    made = closer()
    made.answered([candle(0, 101)], since=at(0), asked_at=at(1, 1.9))
    assert made.take() == []
    made.answered([candle(0, 102)], since=at(0), asked_at=at(1, 2))
    assert closes(made.take()) == [102]


def test_nothing_is_asked_for_before_a_close_and_its_grace_have_passed():
    made = closer()
    assert made.due(at(1, 1.9)) is None
    assert made.due(at(1, 2)) == at(0)
    made.saw(candle(0), at(1, 2), is_final=True)
    assert made.due(at(2, 1.9)) is None
    assert made.due(at(2, 2)) == at(0), "one before the next, so that a correction shows"


def test_a_bar_is_published_once_whatever_repeats_it():
    made = closer()
    for _ in range(3):
        made.saw(candle(0), at(1), is_final=True)
        made.saw(candle(0), at(1))
        made.answered([candle(0)], since=at(0), asked_at=at(1, 5))
    assert closes(made.take()) == [100]


def test_an_older_message_heard_after_the_final_one_changes_nothing():
    made = closer()
    made.saw(candle(1, 107), at(2), is_final=True)
    made.saw(candle(1, 103), at(2))
    made.saw(candle(0, 101), at(2), is_final=True)
    made.saw(candle(0, 99), at(2))
    assert closes(made.take()) == [101, 107]


def test_a_later_bar_waits_for_the_one_before():
    made = closer()
    made.saw(candle(1, 102), at(2), is_final=True)
    assert made.take() == []
    assert made.is_behind
    made.answered([candle(0, 101), candle(1, 102)], since=at(0), asked_at=at(2, 3))
    assert closes(made.take()) == [101, 102]
    assert not made.is_behind


def test_what_the_venue_has_not_although_it_has_later_bars_is_missing():
    made = closer()
    made.answered([candle(0), candle(3)], since=at(0), asked_at=at(4, 3))
    closed, missing, later = made.take()
    assert missing == Missing(at(1), 2, "the venue has later bars, but not these")
    assert (closed.bar.open_time, later.bar.open_time) == (at(0), at(3))


def test_empty_bars_may_be_made_up_and_are_flagged():
    made = closer(fills_empty=True)
    made.answered([candle(0, 101), candle(2, 102)], since=at(0), asked_at=at(3, 3))
    first, made_up, last = (one.bar for one in made.take())
    assert made_up == first._replace(
        open_time=at(1), close_time=at(2), open=101, high=101, low=101, close=101, volume=0, flags=FORWARD_FILLED)
    assert last.close == 102


def test_a_bar_is_not_missing_while_the_venue_has_no_later_one():
    made = closer()
    made.answered([], since=at(0), asked_at=at(5))
    made.answered([candle(0)], since=at(0), asked_at=at(5))
    assert [type(one) for one in made.take()] == [Closed]
    assert made.due(at(5)) == at(0)


def test_an_answer_that_begins_later_says_nothing_of_what_lies_before():
    made = closer()
    made.answered([candle(2), candle(3)], since=at(2), asked_at=at(4, 3))
    assert made.take() == []


def test_a_bar_that_the_stream_has_is_not_missing_because_an_answer_lacks_it():
    made = closer()
    made.saw(candle(0), at(0, 30))
    made.answered([candle(1)], since=at(0), asked_at=at(2, 3))
    assert made.take() == []


def test_a_changed_candle_is_told_and_what_was_published_stays():
    made = closer()
    made.saw(candle(0), at(1), is_final=True)
    made.take()
    made.saw(candle(0, volume=2), at(1), is_final=True)
    made.answered([candle(0, volume=2)], since=at(0), asked_at=at(2))
    assert made.take() == [Revised(candle(0), candle(0, volume=2))]


def test_giving_up_leaves_out_what_is_not_known_to_be_closed_and_no_more():
    made = closer()
    made.saw(candle(0), at(1), is_final=True)
    made.saw(candle(1), at(2))
    made.saw(candle(2), at(3), is_final=True)
    made.give_up(at(3), "too late")
    first, missing, last = made.take()
    assert (first.bar.open_time, missing, last.bar.open_time) == (at(0), Missing(at(1), 1, "too late"), at(2))
    made.saw(candle(1), at(3), is_final=True)
    assert made.take() == [], "a bar that was given up does not come back"


def test_candles_off_the_grid_or_of_the_future_are_refused():
    made = closer(is_every_change_sent=True)
    made.saw(candle(0), at(0, 1))
    made.saw(candle(0)._replace(open_time=at(0, 1)), at(0, 2))
    made.saw(candle(7), at(0, 2))
    assert (made.take(), made.refused) == ([], 2)


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_laws(world: World, *, final_values: dict[int, Candle]) -> None:
    times = [one.open_time for one in world.published]
    assert times == sorted(set(times)), "each once, and in order"
    assert not set(times) & set(world.missing)
    for one in world.published:
        allowed = {final_values[one.open_time], final_values[one.open_time]._replace(
            volume=final_values[one.open_time].volume + 7)}
        assert one in allowed, "never forming"


def by_time(world: World) -> dict[int, Candle]:
    return {one.open_time: one for one in world.truth.values()}


@given(SEEDS)
def test_with_a_final_word_no_disorder_makes_a_wrong_double_or_misplaced_bar(seed):
    world = World(seed, loses=0.3, shuffles=True, doubles=0.4, revises=0.2, quiet=0.15, outages=2)
    world.run()
    check_laws(world, final_values=by_time(world))
    assert world.missing == [START + bar * MINUTE for bar in sorted(world.quiet)]
    assert len(world.published) + len(world.missing) >= world.bars - 1


@given(SEEDS)
def test_without_answers_nothing_but_final_words_makes_bars(seed):
    world = World(seed, loses=0.2, shuffles=True, doubles=0.4)
    world.run(asks=False)
    check_laws(world, final_values=by_time(world))
    assert world.missing == []


@given(SEEDS)
def test_a_stream_that_sends_every_change_gives_the_true_bars_through_breaks(seed):
    world = World(seed, has_final_word=False, doubles=0.3, quiet=0.15, outages=2)
    world.run()
    check_laws(world, final_values=by_time(world))
    assert world.missing == [START + bar * MINUTE for bar in sorted(world.quiet)]
    assert len(world.published) + len(world.missing) >= world.bars - 1


@given(SEEDS)
def test_every_correction_of_a_published_bar_is_told_once(seed):
    world = World(seed, revises=0.3)
    world.run(until=1_200)
    at_first = {one.open_time: one for one in world.published}
    assert len({one.old.open_time for one in world.revisions}) == len(world.revisions)
    for one in world.revisions:
        assert one.old == at_first[one.old.open_time]
        assert one.new.volume == one.old.volume + 7
