"""Laws of the gate: own orders never carry a position beyond its limits, and a refused order changes nothing else."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import Bar
from engine.costs import MakerTakerFees
from engine.events import RequestRefused
from engine.orders import Order
from engine.risk import Asked, RiskGate, RiskRule
from engine.risk.losses import Drawdown
from engine.risk.sizes import MaxLeverage, MaxOrderNotional, MaxPosition, MaxPositionNotional
from engine.strategy import Strategy
from engine.testing import Terms, engine_for, make_bars
from tests.engine.cases import merged

D = Decimal
FREE = MakerTakerFees(D(0), D(0))

Plan = list[tuple[int, dict[str, Any]]]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[int], Plan]:
    """A market's steps and what is asked for on the way: many asks on few bars, so that orders meet each other."""
    dice = draw(st.randoms(use_true_random=False))
    steps = [dice.randint(-6, 6) for _ in range(dice.randint(8, 30))]
    plan = [
        (
            dice.randrange(1, len(steps)),
            {
                "method": dice.choice(["buy", "sell", "buy", "sell", "target", "cancel", "amend", "close"]),
                "symbol": dice.choice("AAB"),
                "quantity": dice.randint(1, 30) / 10,
                "price": dice.choice([None, *range(-8, 9)]),
                "stop": dice.random() < 0.4,
                "bracket": dice.random() < 0.3,
                "group": dice.choice([None, None, None, "g", "h"]),
                "reduce_only": dice.random() < 0.15,
            },
        )
        for _ in range(dice.randint(5, 60))
    ]
    return steps, plan


def bars_of(steps: list[int]) -> Any:
    """Two markets that mirror each other, each bar with a range around its way."""

    def rows(sign: int) -> list[list[float]]:
        made, last = [], 100.0
        for step in steps:
            now = last + sign * step
            made.append([last, max(last, now) + 1, min(last, now) - 1, now])
            last = now
        return made

    return merged(make_bars(rows(1), symbol="A"), make_bars(rows(-1), symbol="B"))


class Random(Strategy):
    """Does what the plan says, by any order there is; remembers which steps were refused."""

    def __init__(self, plan: list[tuple[int, dict[str, Any]]], skip: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.plan, self.skip = plan, skip
        self.seen = 0
        self.refused: set[int] = set()
        self.made: dict[int, Order] = {}

    def on_bar(self, bar: Bar) -> None:
        if bar.symbol == "B":
            for place, (when, wanted) in enumerate(self.plan):
                if when == self.seen and place not in self.skip:
                    self.act(place, wanted)
            self.seen += 1

    def act(self, place: int, wanted: dict[str, Any]) -> None:
        symbol, close = wanted["symbol"], self.price(wanted["symbol"])
        if wanted["method"] == "target":
            self.target(symbol, wanted["quantity"] / 2 - 0.8)
            return
        if wanted["method"] in ("cancel", "amend"):
            for order in self.open_orders(symbol)[-1:]:
                if wanted["method"] == "cancel":
                    self.cancel(order)
                elif order.instrument.to_lots(wanted["quantity"]) > order.filled_lots:
                    self.amend(order, quantity=wanted["quantity"])
            return
        held = self.position(symbol)
        if wanted["method"] == "close":
            if not held:
                return
            side = "sell" if held > 0 else "buy"
            wanted = {**wanted, "method": side, "quantity": abs(held), "bracket": False}
        terms: dict[str, Any] = {"reduce_only": wanted["reduce_only"], "oco_group": wanted["group"]}
        if wanted["price"] is not None:
            terms["stop" if wanted["stop"] else "limit"] = max(1.0, close + wanted["price"])
        elif wanted["bracket"]:
            terms["stop_loss" if wanted["method"] == "buy" else "take_profit"] = max(1.0, close - 5)
        order = getattr(self, wanted["method"])(symbol, wanted["quantity"], **terms)
        self.made[order.id] = order
        if order.status.value == "refused":
            self.refused.add(place)


class Watches(RiskRule):
    """Calls a function at every close."""

    def __init__(self, look: Any) -> None:
        self.look = look

    def on_close(self, close: Any, view: Any) -> list[Any]:
        self.look(view)
        return []


def play(steps: list[int], strategy: Random, *rules: RiskRule, cash: int = 100_000, allow_short: bool = True) -> Any:
    terms = Terms(cash=D(cash), fees=FREE, risk=RiskGate(rules), allow_short=allow_short)
    return engine_for(bars_of(steps), strategy, terms).run()


@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(0, 30).map(lambda tenths: D(tenths) / 10), st.booleans())
def test_no_orders_ever_carry_a_position_beyond_its_limit(
    world: Any, limit: Decimal, allow_short: bool
) -> None:
    def look(view: Any) -> None:
        for position in view.portfolio.positions.values():
            assert abs(position.quantity) <= limit

    play(world[0], Random(world[1]), MaxPosition(limit), Watches(look), allow_short=allow_short)


class Approved(RiskRule):
    """Comes last: sees what every other rule let pass, and checks it against numbers of its own."""

    def __init__(self, notional: Decimal, gross: Decimal) -> None:
        self.notional, self.gross = notional, gross
        self.count = 0

    def on_sent(self, order: Order, view: Any) -> None:
        """Suppose that everything on the order's side fills at the last close: an independent, plainer reckoning."""
        self.count += 1
        position = view.position(order.symbol)
        same = [one for one in view.working.values() if one.symbol == order.symbol and one.side is order.side]
        lots = position.lots + order.side * sum(one.open_lots for one in same if not one.reduce_only)
        price = D(str(view.price(order.symbol)))
        grew = abs(lots) > abs(position.lots) and not order.reduce_only
        if grew and all(one.group is None for one in same):
            worth = abs(position.instrument.to_quantity(lots)) * price
            assert worth <= max(self.notional, abs(position.quantity) * price)
            held = sum(abs(one.quantity) * D(str(view.price(one.instrument.symbol)))
                       for one in view.portfolio.positions.values() if one is not position)  # fmt: skip
            assert worth + held <= self.gross * D(str(view.equity("USD"))) + D("0.01")


@settings(max_examples=120, deadline=None)
@given(worlds(), st.integers(1, 40), st.integers(1, 20))
def test_what_is_approved_keeps_notional_and_leverage_within_their_limits(
    world: Any, tens: int, tenths: int
) -> None:
    notional, gross = D(tens * 10), D(tenths) / 10
    last = Approved(notional, gross)
    play(world[0], Random(world[1]), MaxPositionNotional(notional), MaxLeverage(gross), last, cash=500)


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_a_refused_order_changes_nothing_else(world: Any) -> None:
    rules = lambda: (MaxPosition(D(1)), MaxOrderNotional(D(150)))  # noqa: E731 made anew for each run
    strategy = Random(world[1])
    result = play(world[0], strategy, *rules())
    without = Random(world[1], frozenset(strategy.refused))
    again = play(world[0], without, *rules())
    assert not without.refused
    assert result.fills_hash == again.fills_hash
    assert result.curve.equity.tolist() == again.curve.equity.tolist()


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_a_rule_that_only_watches_changes_nothing(world: Any) -> None:
    result = play(world[0], Random(world[1]), Watches(lambda view: None))
    plain = engine_for(bars_of(world[0]), Random(world[1]), Terms(cash=D(100_000), fees=FREE)).run()
    assert result.fills_hash == plain.fills_hash
    assert result.curve.equity.tolist() == plain.curve.equity.tolist()
    assert result.refused_count == plain.refused_count


@settings(max_examples=120, deadline=None)
@given(worlds(), st.sampled_from(["refuse", "cancel", "flatten"]), st.integers(3, 60))
def test_nothing_grows_while_halted(world: Any, action: str, permille: int) -> None:
    held: dict[str, int] = {}

    def look(view: Any) -> None:
        for symbol, position in view.portfolio.positions.items():
            if symbol in held:
                assert abs(position.lots) <= abs(held[symbol])
                assert position.lots * held[symbol] >= 0
            if gate.halts:
                held[symbol] = position.lots

    gate = RiskGate([Watches(look), Drawdown(permille / 1000, action=action)])
    terms = Terms(cash=D(3000), fees=FREE, risk=gate)
    result = engine_for(bars_of(world[0]), Random(world[1]), terms).run()
    assert len(result.risk_events) <= 1


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_asking_twice_gives_the_same_answer(world: Any) -> None:
    class Twice(RiskRule):
        def refusal(self, asked: Asked) -> str | None:
            one, two = (rule.refusal(Asked(asked.order, asked.view)) for rule in (inner, inner))
            assert one == two
            return one

    inner = MaxPosition(D(1))
    strategy = Random(world[1])
    told: list[RequestRefused] = []
    result = play(world[0], strategy, Twice())
    assert result.refused_count >= len(told)
