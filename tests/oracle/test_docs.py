"""What docs/fills.md and docs/profiles.md say is what happens: every example is run, every table compared."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from config.scenarios import run_scenario
from engine.semantics import CHOICES, PROFILES, Switches, profile
from tests.oracle.sharp_cases import SharpCase
from tests.oracle.test_profiles import REFUSED_FAULTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE_HEAD = ["switches", "bars from 2 on", "order", "fills"]
NAMED = re.compile(r"`(\w+)=([\w.]+)`")


def tables(page: str) -> list[list[list[str]]]:
    """Return the tables of a page, each as rows of cells, the head first and the rule below it left out."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    found = [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
    return [[rows[0], *rows[2:]] for rows in found]


def value_of(text: str) -> object:
    return {"True": True, "False": False, "None": None}.get(text, float(text) if re.match(r"[\d.]+$", text) else text)


def examples() -> list:
    """Return (switches, bars, orders, fills) of every example; "the same" takes the switches of the row above."""
    found = []
    for table in tables("fills.md"):
        if table[0] != EXAMPLE_HEAD:
            continue
        chosen: dict[str, object] = {}
        for words, bars, orders, fills in table[1:]:
            named = {name: value_of(value) for name, value in NAMED.findall(words)}
            chosen = named or ({} if "with a gap step" in words else chosen)
            found.append(pytest.param(chosen, bars, orders, fills, id=f"{words[:40]} {orders}"))
    return found


@pytest.mark.parametrize(("chosen", "bars", "orders", "fills"), examples())
def test_the_examples_of_the_fill_rules_are_true(chosen, bars, orders, fills):
    case = SharpCase("example", bars, orders, fills, "")

    made = run_scenario(case.scenario(), profile("default", **chosen))

    assert [list(fill) for fill in made] == case.fills("backtesting_py")


def test_every_value_of_every_switch_is_explained():
    text = (DOCS / "fills.md").read_text("utf-8")

    for name, choices in CHOICES.items():
        assert [value for value in choices if f"`{name}={value}`" not in text] == []
    assert [name for name in asdict(Switches()) if f"`{name}" not in text] == []


def test_values_marked_default_are_the_defaults():
    for table in tables("fills.md"):
        for row in table[1:] if table[0] == EXAMPLE_HEAD else ():
            if "(default" in row[0]:
                name, value = NAMED.findall(row[0])[-1]
                assert getattr(Switches(), name) == value_of(value)


def test_the_table_of_profiles_is_the_one_in_force():
    head, *rows = next(table for table in tables("profiles.md") if table[0][0] == "switch")

    shown = {name: {row[0].strip("`"): value_of(cell.strip("`")) for row in rows if (cell := row[place])}
             for place, name in enumerate(head) if place}
    differing = {
        name: {switch: value for switch, value in asdict(profile(name)).items()
               if name == "default" or value != getattr(Switches(), switch)}
        for name in PROFILES}
    differing["default"] = {switch: value for switch, value in differing["default"].items() if switch in {
        row[0].strip("`") for row in rows}}
    assert shown == differing


def test_the_faults_we_refuse_are_all_told_of():
    text = (DOCS / "profiles.md").read_text("utf-8")

    assert [name for _, name in REFUSED_FAULTS if f"`{name}`" not in text] == []
