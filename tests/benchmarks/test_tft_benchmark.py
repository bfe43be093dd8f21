"""The benchmark of the temporal fusion transformer says what it should, on a shrunken network: no speed is asserted."""

import numpy as np
import torch

from benchmarks.models_size import QUICK
from benchmarks.models_tft import feature_names, features_of, network_of, parameters_of, works


def test_every_row_has_its_figures_and_came_out_equal():
    torch.set_num_threads(1)

    rows = works(QUICK).rows

    assert [row.target for row in rows] == ["ratio ≥ 2.0", "ratio ≥ 1.4", "≤ 5.0 ms"]
    assert all(row.equal and row.ours > 0 for row in rows)
    assert "the plain forward" in rows[0].work  # says what stands in for the peer


def test_features_see_the_last_bars_alone():
    generator = np.random.default_rng(1)
    bars = 100 + generator.random((80, 5))
    changed = bars.copy()
    changed[:40] *= 2

    assert features_of(bars).shape == (len(feature_names()),)
    np.testing.assert_array_equal(features_of(bars[-40:]), features_of(changed[-40:]))
    np.testing.assert_allclose(features_of(bars), features_of(changed), rtol=1e-5, atol=1e-6)


def test_the_network_has_the_size_that_is_said():
    of = network_of(parameters_of(QUICK)).configuration

    assert len(of.encoder_variables) == 32
    assert of.decoder_variables == ("hour_sin", "hour_cos")
