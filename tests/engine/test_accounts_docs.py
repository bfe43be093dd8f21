"""The worked examples of docs/accounts.md, as the page has them."""

import re
import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from config.settings import settings_from
from engine.journal.lineage import why
from engine.margin import MarginSchedule, MarginTerms
from engine.testing import Terms
from engine.trading_rules import price_limits
from tests.engine.cases import scripted
from tests.engine.test_liquidation import Ran

D = Decimal
PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text("utf-8")
TERMS = Terms(cash=D(1000), margin=MarginTerms(schedule=MarginSchedule(D(5)), liquidation_fee=D(0)))


def rows() -> list[list[str]]:
    table = PAGE.split("| third bar: open, high, low, close |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row[:2]))
def test_the_table_of_liquidations_is_what_a_run_gives(row):
    prices, asked, closed, cash, covered = row
    word, _, level = asked.partition(" ")
    protect = {{"stop": "stop_loss", "target": "take_profit"}[word]: D(level)} if asked else {}
    third = [float(price) for price in prices.split(",")]
    ran = Ran([100, 100, third], scripted({0: lambda s: s.buy("TEST", 40, **protect)}), TERMS)
    exits = [fill.price for fill in ran.record.fills[1:]]
    assert exits == ([] if closed == "open" else [float(closed)])
    assert ran.cash == D(cash)
    assert sum(ran.moved("insurance")) == float(covered)


def test_the_order_of_a_liquidation_is_told_as_the_page_tells_it():
    ran = Ran([100, 100, [100, 101, 80, 95]], scripted({0: lambda s: s.buy("TEST", 40)}), TERMS)
    told = re.search(r"```\n(fill 2: .*?)```", PAGE, re.DOTALL)
    assert told is not None
    assert told[1].strip() in str(why(ran.journal, "f2"))


def test_the_limits_of_the_page_are_those_of_the_rule():
    number = r"([\d.]+)"
    found = re.findall(
        f"close of {number} gives limits of {number} and {number}|one of {number} gives {number} and {number}", PAGE)
    assert len(found) == 2
    for groups in found:
        close, low, high = [D(group.rstrip(".")) for group in groups if group]
        assert price_limits(int(close * 100), D("0.1")) == (int(low * 100), int(high * 100))


def test_every_block_of_settings_is_accepted():
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        given = tomllib.loads(block)
        given["data"] = {"source": "synthetic", **given.get("data", {})}
        settings_from({**given, "strategy": {"name": "BuyAndHold"}}, folder=Path("/"), origin="docs/accounts.md")


def test_a_stop_at_the_liquidation_price_is_too_late():
    ran = Ran([100, 100, [100, 101, 80, 95]], scripted({0: lambda s: s.buy("TEST", 40, stop_loss=D("83.33"))}),
              replace(TERMS))
    assert [decision.strategy for decision in ran.record.decisions][-1] == "engine"
