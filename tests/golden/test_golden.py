"""Small runs whose every order, event and fill is known: what they did when they were last looked at, they do now."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.orders import OrderType, TimeInForce
from engine.semantics import CHOICES
from tests.golden.__main__ import made
from tests.golden.all_runs import RUNS
from tests.golden.market import SplitMix, market
from tests.golden.record import EXPECTED, UPDATE, changes, expected, save

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
OUT_OF_SCOPE = {("path", "olhc"), ("path", "ohlc"), ("path", "detail")}
"""Values of switches without a run of their own: the first two are what `candle_colour` is made of."""


@pytest.mark.parametrize("name", RUNS)
def test_a_golden_run_does_what_it_did(name):
    found, before = made(name), expected(name)

    assert before is not None, f"{name} has no expectation yet; look at what it does, then {UPDATE} {name}"
    words = changes(before, found)
    if words:
        pytest.fail(f"{name} ({found['about']})\n  " + "\n  ".join(words)
                    + f"\nIf that is meant, say so in CHANGELOG.md under 'Changes results', then {UPDATE} {name}")


def test_no_expectation_is_left_of_a_run_that_is_gone():
    assert {path.stem for path in EXPECTED.glob("*.json")} == set(RUNS)


def test_there_are_enough_runs_and_each_trades():
    assert len(RUNS) >= 30
    assert [name for name in RUNS if not (expected(name) or {}).get("fills")] == []


def test_every_kind_of_order_time_in_force_and_event_is_in_one_of_them():
    text = "\n".join(line for name in RUNS for line in (expected(name) or {}).get("orders", ()))
    kinds = {kind for name in RUNS for kind in (expected(name) or {}).get("counts", ())}

    assert [kind.value for kind in OrderType if f" {kind.value}" not in text] == []
    assert [kind.value for kind in TimeInForce if kind is not TimeInForce.GTC and f" {kind.value}" not in text] == []
    assert {"accepted", "amended", "cancelled", "expired", "reduced", "rejected", "triggered", "refused"} <= kinds
    assert all(word in text for word in ("post-only", "reduce-only", "parent", "group"))


def test_every_switch_has_a_run_with_other_than_its_default():
    chosen = {(name, value) for make in RUNS.values() for name, value in vars(make().terms.switches).items()}

    untried = [name for name in CHOICES if len({value for switch, value in chosen if switch == name}) < 2]
    assert untried == []


@pytest.mark.parametrize(("one_by_one", "otherwise"), [
    ("targets_one_by_one", "targets_in_bulk"), ("targets_by_jumping", "targets_by_jumping_in_bulk")])
def test_targets_dealt_with_in_bulk_are_those_dealt_with_one_by_one(one_by_one, otherwise):
    first, second = made(one_by_one), made(otherwise)

    same = ("orders", "fills", "statistics", "counts", "fills_hash")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_two_runs_and_two_processes_with_other_hash_seeds_agree():
    """In one process twice, and in two whose dictionaries and sets of text are ordered otherwise."""
    here = "".join(f"{name} {(found := made(name))['orders_hash']} {found['fills_hash']}\n" for name in RUNS)
    elsewhere = [
        subprocess.run(
            [sys.executable, "-m", "tests.golden", "--hashes"], cwd=ROOT, check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "4242")]

    assert elsewhere == [here, here]


# ── the harness itself ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_is_told_in_words_with_the_first_line_that_differs():
    before = json.loads(json.dumps(made("market_orders")))
    after = json.loads(json.dumps(before))
    after["fills"][4] = after["fills"][4].replace(" taker", " maker")
    after["fills_hash"] = "another"
    after["statistics"]["trades"] += 1
    after["counts"]["fills"] -= 1

    words = changes(before, after)

    assert words[0].startswith(f"fills, line 5 of {len(before['fills'])}: was  fill 5 of order 5 ")
    assert " maker" in words[1]
    assert words[2:] == [f"counts: fills was {before['counts']['fills']}, is {before['counts']['fills'] - 1}",
                         f"statistics: trades was {before['statistics']['trades']}, is {after['statistics']['trades']}"]


def test_a_line_more_a_line_less_and_a_forged_hash_are_told():
    before = made("market_orders")

    assert changes(before, {**before, "fills": before["fills"][:-1]}) == [
        f"fills: {len(before['fills'])} lines before, {len(before['fills']) - 1} now; no more: {before['fills'][-1]}"]
    assert changes(before, {**before, "orders": [*before["orders"], "one"]})[0].endswith("new: one")
    assert changes(before, {**before, "fills_hash": "0"}) == ["fills_hash of the file do not belong to its lines"]
    assert changes(before, before) == []
    assert changes(None, before) == ["there was no such run before"]


def test_a_run_that_is_not_there_and_an_update_of_nothing_are_refused():
    def said(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "tests.golden", *arguments], cwd=ROOT, capture_output=True,
                              text=True, check=False)
        return done.returncode, done.stderr

    status, text = said("--update", "no_such_run")
    assert status == 2
    assert "there is no golden run no_such_run; there are market_orders, " in text
    assert "--update needs the names of runs, or --all" in said("--update")[1]


def test_an_update_makes_what_was_found_the_expectation(tmp_path):
    found = made("market_orders")

    save("market_orders", {**found, "bars": 1}, tmp_path)
    assert changes(expected("market_orders", tmp_path), found) == [f"bars was 1, is {found['bars']}"]
    save("market_orders", found, tmp_path)
    assert changes(expected("market_orders", tmp_path), found) == []


def test_statistics_may_differ_in_their_last_digits_and_fills_in_none():
    before = made("market_orders")
    nearly = {**before["statistics"], "sharpe": before["statistics"]["sharpe"] * (1 + 1e-9)}

    assert changes(before, {**before, "statistics": nearly}) == []
    assert changes(before, {**before, "statistics": {**nearly, "sharpe": nearly["sharpe"] * (1 + 1e-6)}}) != []


def test_the_random_numbers_are_splitmix64_s():
    """The first three of seed 1234567, from the reference implementation (prng.di.unimi.it/splitmix64.c)."""
    stream = SplitMix(1234567)

    assert [stream.draw() for _ in range(3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_the_market_is_made_of_possible_bars_on_its_increments():
    bars = market(rows=500, seed=5)

    assert (bars.high >= bars.open).all()
    assert (bars.low <= bars.close).all()
    assert [round(price * 100) / 100 for price in bars.close.tolist()] == bars.close.tolist()


def test_the_page_says_how_many_runs_there_are():
    told = re.search(r"(\d+) golden runs", PAGE.read_text("utf-8"))

    assert told is not None
    assert int(told[1]) == len(RUNS)
