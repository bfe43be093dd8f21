"""Symbols that share nothing but ample cash do not affect each other."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st

from engine.records import FillRow
from tests.properties.worlds import Action, Outcome, Place, Target, Terms, World, any_terms, run, worlds

SHARED = {"fees": ("none", "maker_taker", "rebate", "equity"), "latency": ("none", "short", "bar", "long")}
"""Tiers depend on the volume of all symbols, and drawn latencies on the number of an order."""


def _apart(terms: Terms) -> Terms:
    switches = replace(terms.switches, limit_touch=terms.switches.limit_touch.replace("probability", "touch"))
    changes = {name: values[0] for name, values in SHARED.items() if getattr(terms, name) not in values}
    return replace(terms, switches=switches, cash=1_000_000_000, **changes)


@st.composite
def worlds_apart(draw) -> World:
    world = draw(worlds(terms=lambda pick: _apart(any_terms(pick)), currencies=False))
    assume(len(world.walks) > 1)
    walks = tuple(replace(walk, increment=Decimal("0.01"), lot=Decimal("0.01")) for walk in world.walks)
    script = tuple(
        (place, number % len(walks), _of_one_symbol(action, number % len(walks)))
        for place, number, action in world.script if not isinstance(action, Target))
    return replace(world, walks=walks, script=script)


def _of_one_symbol(action: Action, number: int) -> Action:
    """Return the action with its OCO group, if it is in one, shared by orders of its own symbol alone."""
    if isinstance(action, Place) and action.oco_group is not None:
        return replace(action, oco_group=f"{action.oco_group} of {number}")
    return action


def _fills_of(outcome: Outcome, symbol: str) -> list[tuple]:
    numbered = ("id", "order_id", "cash_after")
    names = [name for name in FillRow._fields if name not in numbered]
    return [tuple(getattr(fill, name) for name in names) for fill in outcome.rows["fills"] if fill.symbol == symbol]


@given(worlds_apart())
def test_a_symbol_fills_alone_as_it_does_beside_others(world):
    together = run(world)

    for number, walk in enumerate(world.walks):
        mine = tuple(
            (place, 0, action) for place, which, action in world.script if which % len(world.walks) == number)
        alone = run(replace(world, walks=(walk,), script=mine))
        assert _fills_of(together, walk.symbol) == _fills_of(alone, walk.symbol)
