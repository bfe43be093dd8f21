"""Compare a fill profile with the engine it is named for, on generated scenarios, for as many as you have time for.

    python -m tests.oracle.sweep --profile backtesting_py --count 20000 --seed 1
    python -m tests.oracle.sweep --profile backtesting_py --count 5000 --orders 4 --quantity 3

Equal means list equality: side, bar index and price of every fill, in the order in which they happen. The peer's float
noise is counted apart: there the exact matchers of reference.py agree with us, or vectorbt misses an exact touch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from config.scenarios import run_scenario
from engine.semantics import profile
from tests.oracle.peers import run_backtesting_py, run_backtrader, run_vectorbt_next_open
from tests.oracle.reference import backtesting_py_fills, backtrader_fills
from tests.oracle.scenario_generator import GAPS, KINDS, LARGE_GAPS, MORE_KINDS, random_scenario

Scenario = dict[str, Any]
Fills = list[list[Any]]

PRICE_TOLERANCE = 1e-9
"""Relative: a peer's price is a float that came out of arithmetic, ours names a count of increments."""

PEERS: Mapping[str, Callable[[Scenario], Fills | None]] = {
    "backtesting_py": run_backtesting_py, "backtrader": run_backtrader, "vectorbt_next_open": run_vectorbt_next_open,
}
REFERENCES: Mapping[str, Callable[[Scenario], Fills]] = {
    "backtesting_py": backtesting_py_fills, "backtrader": backtrader_fills,
}
KINDS_OF: Mapping[str, tuple[str, ...]] = {
    "backtesting_py": KINDS + MORE_KINDS, "backtrader": KINDS + MORE_KINDS,
    "vectorbt_next_open": ("market", "bracket", "trailing"),
}


def our_fills(scenario: Scenario, profile_name: str) -> Fills:
    """Return our fills under a profile, as lists."""
    return [list(fill) for fill in run_scenario(scenario, profile(profile_name))]


def same(ours: Fills, theirs: Fills) -> bool:
    """Return whether two lists of fills are equal, prices up to float noise."""
    return len(ours) == len(theirs) and all(
        mine[:2] == other[:2] and abs(mine[2] - other[2]) <= PRICE_TOLERANCE * abs(other[2])
        for mine, other in zip(ours, theirs, strict=True)
    )


def is_float_noise(profile_name: str, scenario: Scenario, ours: Fills, theirs: Fills) -> bool:
    """Return whether a difference comes from the peer's floats: exact arithmetic agrees with us.

    vectorbt has no exact matcher; there, the first fill that it has not must lie exactly on its bar's high or low.
    """
    reference = REFERENCES.get(profile_name)
    if reference:
        return same(ours, reference(scenario))
    mine = next((fill for place, fill in enumerate(ours) if not same([fill], theirs[place : place + 1])), None)
    return mine is not None and mine[2] in scenario["bars"][mine[1]][1:3]


@dataclass
class Agreement:
    """What a sweep found, by kind of order."""

    equal: Counter[str] = field(default_factory=Counter)
    float_noise: Counter[str] = field(default_factory=Counter)
    differing: list[tuple[Scenario, Fills, Fills]] = field(default_factory=list)
    """Scenarios that differ for no known reason: the scenario, our fills, theirs."""

    @property
    def count(self) -> int:
        return self.equal.total() + self.float_noise.total() + len(self.differing)

    def lines(self) -> Iterator[str]:
        """Yield what to print."""
        differing = Counter(kinds(scenario) for scenario, _, _ in self.differing)
        for kind in sorted(self.equal | self.float_noise | differing):
            counts = self.equal[kind], self.float_noise[kind], differing[kind]
            yield f"{kind:28} {counts[0]:8,} equal {counts[1]:6,} float noise {counts[2]:6,} differ"
        yield (f"{'all':28} {self.equal.total():8,} equal {self.float_noise.total():6,} float noise "
               f"{len(self.differing):6,} differ")


def kinds(scenario: Scenario) -> str:
    """Return what kind of orders a scenario holds, or how many if several."""
    orders = scenario["orders"]
    if len(orders) > 1:
        return f"{len(orders)} orders"
    waits = "".join(f"_on_{key}" for key in ("stop", "limit") if key in orders[0] and orders[0]["type"] == "bracket")
    children = {"stop_loss", "take_profit"} & orders[0].keys()
    return orders[0]["type"] + waits + ("_half" if len(children) == 1 else "")


def scenarios(profile_name: str, count: int, seed: int, *, orders: int = 1, quantity: int = 1) -> Iterator[Scenario]:
    """Yield valid random scenarios of every kind that the peer can express, on coarse and on fine increments."""
    rng = Random(seed)
    for number in range(count):
        increment = rng.choice(("1", "0.01"))
        yield random_scenario(
            rng, kinds=KINDS_OF[profile_name], n_orders=orders, increment=increment,
            gaps=rng.choice((GAPS, LARGE_GAPS)), max_quantity=quantity, name=f"{profile_name}-{seed}-{number}",
        )


def compare(profile_name: str, found: Iterator[Scenario] | list[Scenario], *, exact_only: bool = False) -> Agreement:
    """Run scenarios through us and through the peer.

    Args:
        exact_only: compare with the exact matchers alone, which takes a tenth of the time.
    """
    agreement = Agreement()
    peer, reference = PEERS[profile_name], REFERENCES.get(profile_name)
    for scenario in found:
        theirs = reference(scenario) if exact_only and reference else peer(scenario)
        if theirs is None:
            continue
        ours = our_fills(scenario, profile_name)
        if same(ours, theirs):
            agreement.equal[kinds(scenario)] += 1
        elif not exact_only and is_float_noise(profile_name, scenario, ours, theirs):
            agreement.float_noise[kinds(scenario)] += 1
        else:
            agreement.differing.append((scenario, ours, theirs))
    return agreement


def main() -> int:
    """Sweep, print the figures and the first differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PEERS, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--orders", type=int, default=1, help="orders in a scenario")
    parser.add_argument("--quantity", type=int, default=1, help="the largest quantity of an order")
    parser.add_argument("--reference", action="store_true", help="compare with reference.py, not the engine")
    parser.add_argument("--show", type=int, default=3, help="differences to print in full")
    given = parser.parse_args()
    found = scenarios(given.profile, given.count, given.seed, orders=given.orders, quantity=given.quantity)
    agreement = compare(given.profile, found, exact_only=given.reference)
    sys.stdout.writelines(f"{line}\n" for line in agreement.lines())
    for scenario, ours, theirs in agreement.differing[: given.show]:
        sys.stdout.write(f"{json.dumps(scenario)}\nours   {ours}\ntheirs {theirs}\n\n")
    return 1 if agreement.differing else 0


if __name__ == "__main__":
    sys.exit(main())
