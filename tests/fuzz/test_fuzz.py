"""The fuzzer, a little of it, the same cases each time. The whole of it: `python -m tests.fuzz.long --minutes 5`."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import cases, catalogs
from tests.fuzz import settings as settings_fuzz
from tests.fuzz.damage import WAYS
from tests.fuzz.files import FORMS

SEEDS = st.integers(0, 2**32)


def few(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_file_gives_what_it_says_or_an_error_that_names_it(tmp_path: Path, form: str) -> None:
    @few(200)
    @given(seed=SEEDS, ways=st.lists(st.sampled_from(list(WAYS)), max_size=4).map(tuple))
    def holds(seed: int, ways: tuple[str, ...]) -> None:
        cases.run(cases.Case(form, seed, ways), tmp_path)

    holds()


@pytest.mark.parametrize("form", FORMS[:-1])
def test_a_file_that_is_whole_is_read(tmp_path: Path, form: str) -> None:
    outcomes = [cases.run(cases.Case(form, seed, ()), tmp_path) for seed in range(30)]
    # A single row cannot say its timeframe, but the name can: every file is read.
    assert outcomes == ["read"] * 30


@few(150)
@given(
    case=st.builds(
        catalogs.CatalogCase,
        target=st.just("record"),
        way=st.sampled_from(catalogs.WAYS_OF_RECORD),
        seed=SEEDS,
        is_old=st.booleans(),
    )
)
def test_a_damaged_record_of_a_catalog_never_gives_other_bars(tmp_path: Path, case: catalogs.CatalogCase) -> None:
    catalogs.run(case, tmp_path)


@few(150)
@given(
    case=st.builds(
        catalogs.CatalogCase,
        target=st.just("part"),
        way=st.sampled_from(catalogs.WAYS_OF_PART),
        seed=SEEDS,
        is_old=st.booleans(),
    )
)
def test_a_damaged_file_of_a_catalog_never_gives_other_bars(tmp_path: Path, case: catalogs.CatalogCase) -> None:
    catalogs.run(case, tmp_path)


@few(400)
@given(
    case=st.builds(
        settings_fuzz.SettingsCase,
        ways=st.lists(st.sampled_from(("flip", "cut", "splice", "value", "line", "form")), max_size=3).map(tuple),
        overrides=st.integers(0, 2),
        seed=SEEDS,
    )
)
def test_damaged_settings_are_settings_or_one_error_that_says_where(
    tmp_path: Path, case: settings_fuzz.SettingsCase
) -> None:
    settings_fuzz.run(case, tmp_path)
