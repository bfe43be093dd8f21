"""Golden runs of margin accounts, perpetuals, the rules of a stock exchange, the risk gate, and finer bars."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from engine.bars import HOUR
from engine.carry import CarryTerms, FixedFunding
from engine.costs import MakerTakerFees
from engine.detail import DetailBars
from engine.instruments import Instrument
from engine.margin import MarginSchedule, MarginTerms, MarginTier
from engine.risk import RiskGate
from engine.risk.losses import CoolDown, DailyLoss, Drawdown
from engine.risk.sizes import MaxPosition
from engine.semantics import Switches
from engine.testing import Terms
from engine.trading_rules import TradingRules
from tests.golden.market import coarser, market, merged
from tests.golden.orders import PLAIN
from tests.golden.runs import Setup, coins, golden
from tests.golden.strategies import Every, leave, order

D = Decimal


def perpetuals(*symbols: str) -> tuple[Instrument, ...]:
    return coins("USD", *symbols, kind="perpetual")


def margin(leverage: str, **terms: Any) -> Terms:
    """Return the terms of a margin account with little cash, so that leverage is used."""
    return replace(PLAIN, cash=D(1_000), margin=MarginTerms(schedule=MarginSchedule(D(leverage)), **terms))


@golden
def perpetual_with_funding() -> Setup:
    """A perpetual, long and short, that pays and earns a fixed funding every eight hours."""
    carry = CarryTerms(funding={"AAA": FixedFunding(D("0.0003"))})
    strategy = Every(9, order("buy", 10), leave, order("sell", 15), leave)
    return Setup(strategy, market(seed=71), replace(margin("5"), carry=carry), perpetuals("AAA"))


@golden
def perpetual_liquidated() -> Setup:
    """A position at twenty times its margin that the market takes away, inside a bar and at a gap."""
    strategy = Every(12, order("buy", 150, stop_loss=-6.0), order("sell", 120, take_profit=-6.0))
    return Setup(strategy, market(seed=72, gap_every=3), margin("20"), perpetuals("AAA"))


@golden
def perpetuals_in_isolated_margin() -> Setup:
    """Two perpetuals, each with margin of its own; a loss of one leaves the other alone."""
    bars = merged(market("AAA", seed=73, rows=90), market("BBB", seed=74, rows=90))
    strategy = Every(7, order("buy", 40), leave, order("sell", 40), leave)
    return Setup(strategy, bars, margin("10", mode="isolated"), perpetuals("AAA", "BBB"))


@golden
def margin_in_tiers() -> Setup:
    """Maintenance that grows with the position, by tiers; losses beyond the margin are owed."""
    tiers = (MarginTier(D(0), D("0.01")), MarginTier(D(2_000), D("0.05")), MarginTier(D(6_000), D("0.125")))
    schedule = MarginSchedule(D(50), tiers=tiers)
    terms = replace(PLAIN, cash=D(1_000), margin=MarginTerms(schedule=schedule, shortfall="owed"))
    return Setup(Every(8, order("buy", 15), order("buy", 40), leave, order("sell", 55), leave), market(seed=75), terms,
                 perpetuals("AAA"))


@golden
def margin_interest_and_borrow() -> Setup:
    """Shares bought with borrowed cash and sold short, charged at midnight."""
    carry = CarryTerms(interest_rate=D("0.08"), borrow_rate=D("0.05"))
    strategy = Every(20, order("buy", 15), leave, order("sell", 12), leave)
    return Setup(strategy, market(seed=76), replace(margin("2"), carry=carry), coins("USD", "AAA"))


@golden
def shares_settled_the_next_day() -> Setup:
    """Lots of 100, settlement the next day, and a price limit of one percent that keeps orders back."""
    rules = {"AAA": TradingRules(1, D("0.01"))}
    strategy = Every(5, order("buy", 200), leave, order("buy", 100, limit=0.3), leave)
    terms = replace(PLAIN, cash=D(100_000), rules=rules, allow_short=False)
    return Setup(strategy, market(seed=77, volume=(5_000, 50_000)), terms, coins("USD", "AAA", lot="100"))


@golden
def several_currencies() -> Setup:
    """Positions paid in euros and in dollars, valued in dollars by a pair in the data."""
    euros = market("EUR/USD", seed=80, rows=90, first=11_000, volume=(5_000, 50_000))
    bars = merged(market("AAA", seed=78, rows=90), market("BBB", seed=79, rows=90), euros)
    instruments = (*coins("USD", "AAA"), *coins("USD", "EUR/USD", base="EUR"), *coins("EUR", "BBB"))
    strategy = Every(3, order("buy", 5), leave, order("sell", 4), leave)
    return Setup(strategy, bars, replace(PLAIN, converts=True), instruments)


@golden
def risk_limits() -> Setup:
    """A limit on the position: what would exceed it is refused, what reduces passes."""
    strategy = Every(4, order("buy", 2), order("buy", 2), order("sell", 1))
    return Setup(strategy, market(seed=81), replace(PLAIN, risk=RiskGate([MaxPosition(D(3))])))


@golden
def risk_halts_and_flattens() -> Setup:
    """A day's loss flattens and halts for twelve hours, a drawdown for good; losers are followed by a rest."""
    rules = [DailyLoss(0.004, action="flatten", lift_after=12 * HOUR), Drawdown(0.05), CoolDown(2, 6 * HOUR)]
    terms = replace(PLAIN, risk=RiskGate(rules))
    return Setup(Every(3, order("buy", 40), leave, order("sell", 40), leave), market(seed=82), terms)


@golden
def detail_decides() -> Setup:
    """Bars of four hours whose stops and targets are settled by those of one."""
    fine = market(seed=83, rows=360)
    terms = replace(PLAIN, switches=Switches(path="detail"), detail=DetailBars({"AAA": fine}))
    strategy = Every(3, order("buy", 5, stop_loss=-0.8, take_profit=0.8), leave)
    return Setup(strategy, coarser(fine, "4h"), terms)


@golden
def best_path() -> Setup:
    """The other end of what bars leave open: targets before stops."""
    terms = replace(PLAIN, switches=Switches(path="best"), fees=MakerTakerFees())
    return Setup(Every(6, order("buy", 5, stop_loss=-0.8, take_profit=0.8), leave), market(seed=84), terms)
