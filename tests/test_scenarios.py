"""Scenario files: what is read, what is refused and how, and what the command line prints."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.scenarios import run_scenario, run_scenarios
from engine import DataError, EngineError, SettingsError
from engine.semantics import PROFILES, profile
from tests.oracle.scenario_generator import KINDS, MORE_KINDS, random_scenario
from tests.oracle.sharp_cases import SHARP_CASES

ROOT = Path(__file__).resolve().parent.parent


# ── the command line ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("profile_name", ["backtrader", None])
def test_the_command_prints_names_and_fills_in_the_form_of_the_file(tmp_path, profile_name):
    scenarios = [case.scenario() for case in SHARP_CASES[:6]]
    file = tmp_path / "sharp.json"
    file.write_text(json.dumps(scenarios))
    chosen = ["--profile", profile_name] if profile_name else []

    done = subprocess.run(
        [sys.executable, ROOT / "main.py", "scenarios", file, *chosen, "--json"], cwd=tmp_path, capture_output=True,
        text=True, check=True)

    printed = json.loads(done.stdout)
    assert [set(entry) for entry in printed] == [{"name", "fills"}] * len(scenarios)
    assert [entry["name"] for entry in printed] == [case.name for case in SHARP_CASES[:6]]
    switches = profile(profile_name or "default")
    assert [entry["fills"] for entry in printed] == [
        [list(fill) for fill in run_scenario(scenario, switches)] for scenario in scenarios]
    if profile_name:
        assert [entry["fills"] for entry in printed] == [case.fills(profile_name) for case in SHARP_CASES[:6]]


@pytest.mark.parametrize("profile_name", PROFILES)
def test_every_profile_runs_every_kind_of_order(profile_name):
    rng = Random(11)

    fills = [
        fill for kind in KINDS + MORE_KINDS for _ in range(10)
        for fill in run_scenario(random_scenario(rng, kinds=(kind,), n_orders=2), profile(profile_name))]

    assert len(fills) > 50
    assert all(side in ("buy", "sell") and row > 0 and price > 0 for side, row, price in fills)


def test_fills_come_in_the_order_in_which_they_happen():
    rng = Random(12)

    for _ in range(50):
        rows = [row for _, row, _ in run_scenario(random_scenario(rng, n_orders=5), profile("default"))]
        assert rows == sorted(rows)


def test_an_option_that_is_null_is_not_given():
    fills = run_scenario(GOOD, profile("backtrader"))
    nulls = changed(("orders", 0), GOOD["orders"][0] | {"limit": None, "stop": None, "trail_fraction": None})
    assert run_scenario(nulls, profile("backtrader")) == fills != []


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


GOOD: dict[str, Any] = {
    "name": "good", "price_increment": "0.01",
    "bars": [[100, 101, 99, 100, 1000], [100, 101, 99, 100, 1000], [100, 112, 94, 100, 1000]],
    "orders": [{
        "decided_at_close_of": 1, "side": "buy", "type": "bracket", "quantity": 1, "stop_loss": 95,
        "take_profit": 110}],
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the good scenario with one value in it replaced, or taken out."""
    scenario = json.loads(json.dumps(GOOD))
    inner = scenario
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return scenario


@pytest.mark.parametrize(("path", "value", "message"), [
    (("bars",), ..., "bars is None; expected a list"),
    (("orders",), 5, "orders is 5; expected a list"),
    (("bars", 1), [100, 101, 99, 100], "bar 1 is"),
    (("bars", 1, 2), "99", "bar 1 is"),
    (("bars", 1, 1), 98, "high"),
    (("name",), ["good"], "scenario 0 has the name ['good']"),
    (("bars", 1, 3), float("nan"), "bar 1 is"),
    (("bars", 1, 3), float("inf"), "bar 1 is"),
    (("bars", 1, 1), 10**400, "bar 1 is"),
    (("bars", 1, 3), True, "bar 1 is"),
    (("bars", 1, 4), -1, "volume"),
    (("price_increment",), "a cent", "price_increment is 'a cent'"),
    (("price_increment",), "-0.01", "price_increment"),
    (("price_increment",), "NaN", "price_increment"),
    (("price_increment",), "sNaN", "price_increment"),
    (("price_increment",), "1e-400", "price_increment"),
    (("price_increment",), 1e300, "price_increment"),
    (("price_increment",), 0, "price_increment"),
    (("orders", 0), [], "order 0 is"),
    (("orders", 0, "type"), "braket", "did you mean 'bracket'"),
    (("orders", 0, "type"), [], "order 0 has type"),
    (("orders", 0, "side"), "long", "expected buy or sell"),
    (("orders", 0, "stop_los"), 95, "did you mean 'stop_loss'"),
    (("orders", 0, "quantity"), ..., "quantity None; expected a number"),
    (("orders", 0, "quantity"), "1", "quantity '1'; expected a number"),
    (("orders", 0, "quantity"), 0, "quantity"),
    (("orders", 0, "quantity"), float("nan"), "quantity"),
    (("orders", 0, "decided_at_close_of"), 1.5, "decided_at_close_of"),
    (("orders", 0, "decided_at_close_of"), -1, "decided_at_close_of"),
    (("orders", 0, "decided_at_close_of"), True, "decided_at_close_of"),
    (("orders", 0, "stop_loss"), "95", "stop_loss"),
    (("orders", 0, "stop_loss"), -95, "stop_loss"),
    (("orders", 0, "take_profit"), float("inf"), "take_profit"),
])
def test_what_is_not_a_scenario_is_named(tmp_path, path, value, message):
    file = tmp_path / "odd.json"
    file.write_text(json.dumps([changed(path, value)]))

    with pytest.raises(DataError, match=r"odd.json: scenario (good: |0 has)") as caught:
        run_scenarios(file)

    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "cannot be read as JSON"), ("{}", "holds a dict; expected a list"), ("[5]", "scenario 0: it is 5"),
    ("[" * 100_000, "cannot be read as JSON"),
])
def test_what_is_not_a_list_of_scenarios_is_named(tmp_path, text, message):
    file = tmp_path / "odd.json"
    file.write_text(text)

    with pytest.raises(DataError, match="odd.json: ") as caught:
        run_scenarios(file)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_and_a_profile_that_is_not_known_are_errors(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        run_scenarios(tmp_path / "none.json")
    with pytest.raises(SettingsError, match="did you mean 'backtrader'"):
        run_scenarios(tmp_path / "none.json", "backtrade")


# ── whatever is in the file, the answer is fills or an error of ours ────────────────────────────────────────────────


NUMBERS = st.one_of(
    st.integers(-5, 200), st.integers(), st.floats(), st.sampled_from((0, 1e300, -1e300, 10**400, 1e-300, 0.1, 2**53)))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.sampled_from((
    "buy", "sell", "market", "limit", "0.01", "1e-400", "1e400", "NaN", "Infinity", "-0", "0")))
JSON = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(("name", "bars", "orders", "x")), inner, max_size=3)),
    max_leaves=12)


def answers(text: str | bytes, profile_name: str) -> None:
    """Run a file of this content; only an error of ours may come out."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fuzz.json"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            results = run_scenarios(file, profile_name)
        except EngineError:
            return
        json.dumps(results, allow_nan=False)


@given(JSON | st.lists(JSON, max_size=3), st.sampled_from(sorted(PROFILES)))
def test_any_json_is_answered(value, profile_name):
    answers(json.dumps(value), profile_name)


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: f"[{text}]".encode()))
def test_any_bytes_are_answered(content):
    answers(content, "default")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*path, key)
        yield from places(held, (*path, key))


ORDER_KEYS = ("limit", "stop", "stop_loss", "take_profit", "trail_fraction", "quantity", "decided_at_close_of")


@given(
    st.sampled_from(list(places(GOOD))), JSON | st.just(...), st.sampled_from(sorted(PROFILES)),
    st.dictionaries(st.sampled_from(ORDER_KEYS), NUMBERS, max_size=3), st.sampled_from((*KINDS, "bracket")))
def test_a_good_scenario_with_something_changed_is_answered(path, value, profile_name, extra, kind):
    scenario = json.loads(json.dumps(GOOD))
    scenario["orders"][0] |= {"type": kind, **extra}
    text = json.dumps([scenario, changed(path, value)])

    answers(text, profile_name)
