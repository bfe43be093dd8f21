"""For every test: nothing outside decides what a test does.

Hypothesis draws the same examples each time, so that a run of the suite says something about the change and nothing
about luck; `HYPOTHESIS_PROFILE=search` looks for new ones. Timings are not asserted: machines are shared.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "barcast", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("search", settings.get_profile("barcast"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "barcast"))


@pytest.fixture(scope="session", autouse=True)
def _no_journal_of_the_user_s() -> Iterator[None]:
    """Leave out the journal that a user's environment may name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BARCAST_JOURNAL", raising=False)
        yield
