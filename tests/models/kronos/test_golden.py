"""Kronos against every tensor of the original's golden cases."""

import pytest

from models.verification import verify_folder


@pytest.mark.parametrize("name", ["a_sym4", "b_oddheads_fixedte", "c_asym64", "d_mini_recipe"])
def test_it_is_the_original(golden, name):
    checks = list(verify_folder(golden / "kronos" / name))

    assert len(checks) > 60
    assert [check for check in checks if not check.is_ok] == []
    assert {check.name for check in checks if check.skipped} <= {"tok.decode_half_upstream_quirk"} | {
        check.name for check in checks if "sampled" in check.name
    }


def test_the_published_regression_says_why_it_is_skipped(golden):
    (check,) = verify_folder(golden / "kronos" / "published")

    assert check.skipped == "it needs the published weights, which are not at hand here"
