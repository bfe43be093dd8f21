"""Every golden run: importing a file of runs registers them."""

from tests.golden import accounts, orders, terms
from tests.golden.runs import RUNS

__all__ = ["RUNS", "accounts", "orders", "terms"]
