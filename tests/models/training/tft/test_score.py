"""The score never rises when a metric gets worse, and knows nothing of what is not known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SettingsError
from models.training.tft.score import Composite, ScorePart

NAMES = ("val_loss", "val_logreturn_rmse@1h", "val_binarytrend_f1@1h")
BOTH = Composite((ScorePart("val_logreturn_rmse@1h", 2.0, "min", scale=0.5), ScorePart("val_binarytrend_f1@1h", 1.0)))
ANY = st.floats(0, 3)


@given(rmse=ANY, worse=ANY, f1=st.floats(0, 1), lower=st.floats(0, 1))
def test_a_worse_metric_never_raises_it(rmse, worse, f1, lower):
    here = BOTH.of({NAMES[1]: rmse, NAMES[2]: f1})
    assert 0 <= here <= 1
    assert BOTH.of({NAMES[1]: rmse + worse, NAMES[2]: f1}) <= here + 1e-12
    assert BOTH.of({NAMES[1]: rmse, NAMES[2]: f1 * lower}) <= here + 1e-12


def test_it_is_the_weighted_mean_of_goodnesses():
    assert BOTH.of({NAMES[1]: 0.5, NAMES[2]: 0.7}) == pytest.approx((2 * math.exp(-1) + 0.7) / 3)
    part = ScorePart("val_x_roc_auc@1h", base=0.5, best=0.6)
    assert part.goodness(0.55) == pytest.approx(0.5)
    assert (part.goodness(0.4), part.goodness(0.9)) == (0, 1)


def test_a_metric_that_is_not_known_makes_it_not_known():
    found = {NAMES[1]: 0.5, NAMES[2]: math.nan}
    assert math.isnan(BOTH.of(found))
    assert BOTH.unknown(found) == (NAMES[2],)


def test_names_are_checked_before_training():
    BOTH.check(NAMES)
    with pytest.raises(SettingsError, match="there will be no metric 'val_binarytrend_f2@1h'; did you mean"):
        Composite((ScorePart("val_binarytrend_f2@1h"),)).check(NAMES)
    with pytest.raises(SettingsError, match="val_loss is given twice"):
        Composite((ScorePart("val_loss"), ScorePart("val_loss", goal="min"))).check(NAMES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": -1.0}, "has weight -1.0; expected one above 0, and goal = 'min'"),
        ({"weight": 0.0}, "expected one above 0"),
        ({"goal": "min", "scale": 0.0}, "has scale 0.0"),
        ({"base": 1.0, "best": 1.0}, "expected base < best"),
    ],
)
def test_parts_that_cannot_be_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        ScorePart("val_loss", **given)
