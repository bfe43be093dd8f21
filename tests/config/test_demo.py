"""The demonstration: trained on the first part of a market, run on the rest of the same one."""

import numpy as np
import pytest

from config.data import bars_of, feed_of
from config.demo import BACKTEST, TRAINING
from config.settings import load_settings
from config.training_settings import load_training
from engine.errors import SettingsError


def test_what_is_traded_is_the_rest_of_the_market_that_was_learned_from():
    learned, traded = load_training(TRAINING), load_settings(BACKTEST)
    assert learned.data.bars == traded.data.skip
    assert learned.split.end == 1.0
    parts = [bars_of(feed_of(data, 7)) for data in (learned.data, traded.data)]
    whole = bars_of(feed_of(traded.data.model_copy(update={"skip": 0}), 7))

    np.testing.assert_array_equal(np.concatenate([part.close for part in parts]), whole.close)
    assert parts[0].close_time[-1] == parts[1].open_time[0]


def test_leaving_out_the_whole_market_is_refused():
    data = load_settings(BACKTEST).data.model_copy(update={"skip": 9000})
    with pytest.raises(SettingsError, match="data.skip is 9000, and the market has 8000 bars; expected fewer"):
        feed_of(data, 7)
