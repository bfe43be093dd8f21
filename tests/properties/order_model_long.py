"""Play the order model for minutes, with other games every time.

    python -m tests.properties.order_model_long --minutes 5
    python -m tests.properties.order_model_long --minutes 60 --steps 60

It prints what was played, and ends with hypothesis' shortest game of a disagreement if there is one.
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.test_order_model import QUICK, OrderModel, OrderModelAsBacktrader

AT_A_TIME = 50
"""Games between two looks at the clock."""


def main() -> int:
    """Play both models in turn until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=40, help="steps in a game, at most")
    given = parser.parse_args()
    chosen = settings(QUICK, derandomize=False, database=None, max_examples=AT_A_TIME,
                      stateful_step_count=given.steps)
    end = time.monotonic() + 60 * given.minutes
    models = (OrderModel, OrderModelAsBacktrader)
    while time.monotonic() < end:
        for model in models:
            run_state_machine_as_test(model, settings=chosen)
    for model in models:
        figures = ", ".join(f"{count:,} {what}" for what, count in model.played.items())
        sys.stdout.write(f"{model.__name__}: {figures}; no disagreement\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
