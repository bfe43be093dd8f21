"""Kronos against every tensor of the original's golden cases."""

import pytest

from models.kronos.published import verify_published
from models.verification import verify_folder


@pytest.mark.parametrize("name", ["a_sym4", "b_oddheads_fixedte", "c_asym64", "d_mini_recipe"])
def test_it_is_the_original(golden, name):
    checks = list(verify_folder(golden / "kronos" / name))

    assert len(checks) > 60
    assert [check for check in checks if not check.is_ok] == []
    assert {check.name for check in checks if check.skipped} <= {"tok.decode_half_upstream_quirk"} | {
        check.name for check in checks if "sampled" in check.name
    }


def test_the_published_regression_says_why_it_is_skipped(golden, tmp_path):
    checks = list(verify_published(golden / "kronos" / "published", {"HOME": str(tmp_path)}))

    assert [check.is_ok for check in checks] == [True]
    assert checks[0].skipped == (
        "it needs the published weights, not at hand here: NeoQuasar/Kronos-small (BARCAST_KRONOS_SMALL names its "
        "folder) and NeoQuasar/Kronos-Tokenizer-base (BARCAST_KRONOS_TOKENIZER names its folder)"
    )


def test_the_published_weights_forecast_as_they_did(golden):
    checks = list(verify_folder(golden / "kronos" / "published"))
    if checks[0].skipped:
        pytest.skip(checks[0].skipped)

    assert [check for check in checks if not check.is_ok] == []
    assert len(checks) == 4
