"""From bars to paths: normalisation, stamps, amounts, seeds, repairs, and loading checkpoints."""

import copy
import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.bars import nanoseconds
from engine.errors import PluginError
from engine.forecasting.repair import repaired
from models.kronos.configuration import MODELS, TOKENIZERS
from models.kronos.loading import load_model, load_tokenizer
from models.kronos.network import Kronos
from models.kronos.pipeline import KronosPipeline, Paths
from models.kronos.preparation import normalise, stamps_of, with_amount
from models.kronos.tokenizer import KronosTokenizer
from models.verification import verify_folder

HOUR = 3_600_000_000_000


def window(seed: int, length: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, length)))
    fields = {
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
        "close": close,
        "volume": rng.lognormal(3, 1, length),
    }
    return with_amount(fields)


def stamps(series: int, length: int) -> np.ndarray:
    return np.stack([stamps_of(np.arange(length) * HOUR)] * series)


def test_paths_belong_to_their_window_and_seed(network, tokenizer):
    pipeline = KronosPipeline(tokenizer, network, 32)
    windows = [window(seed) for seed in range(4)]

    together = pipeline.paths(windows, stamps(4, 26), 6, samples=3, seeds=[7, 8, 9, 10])

    assert together.values.shape == (4, 3, 6, 6)
    for row in range(4):
        alone = pipeline.paths([windows[row]], stamps(1, 26), 6, samples=3, seeds=[7 + row])
        np.testing.assert_array_equal(alone.s1[0], together.s1[row])
        np.testing.assert_allclose(alone.values[0], together.values[row], rtol=1e-5)
    other = pipeline.paths([windows[0]], stamps(1, 26), 6, samples=3, seeds=[99])
    assert not np.array_equal(other.s1[0], together.s1[0])


def test_paths_of_a_network_that_says_no_numbers_are_none(network, tokenizer):
    broken = copy.deepcopy(network)
    broken.head.proj_s1.bias.data[0] = float("nan")

    made = KronosPipeline(tokenizer, broken, 32).paths([window(0)], stamps(1, 26), 6, samples=2, seeds=[1])

    assert made.values.shape == (1, 2, 6, 6)
    assert np.isnan(made.values).all()


def test_quantiles_and_the_chance_of_a_rise_are_those_of_the_paths(network, tokenizer):
    windows = [window(1), window(2)]
    paths = KronosPipeline(tokenizer, network, 32).paths(windows, stamps(2, 26), 6, samples=9, seeds=[7, 8])

    quantiles = paths.quantiles([0.9, 0.0, 0.5, 1.0])

    assert (quantiles.shape, quantiles.dtype, paths.p_up.shape) == ((2, 4, 6, 6), np.float32, (2, 6))
    ordered = np.sort(paths.values, axis=1)
    np.testing.assert_array_equal(quantiles[:, 1:], ordered[:, [0, 4, 8]])  # of nine: the least, the middle, the most
    np.testing.assert_allclose(quantiles[:, 0], ordered[:, 7] + 0.2 * (ordered[:, 8] - ordered[:, 7]), rtol=1e-6)
    for place, one in enumerate(windows):
        for bar in range(6):
            assert paths.p_up[place, bar] == np.mean([path[bar, 3] > one[-1, 3] for path in paths.values[place]])


def test_a_path_that_ends_where_it_began_rises_by_half():
    values = np.zeros((1, 4, 2, 6), np.float32)
    values[0, :, :, 3] = [[101, 100], [100, 100], [99, 99], [102, 101]]
    tokens = np.zeros((1, 4, 2), np.int64)

    assert Paths(values, tokens, tokens, np.array([100.0])).p_up.tolist() == [[(2 + 0.5) / 4, (1 + 2 * 0.5) / 4]]


@pytest.mark.parametrize("levels", [[], [1.2], [0.5, -0.1], [np.nan]])
def test_levels_that_are_none_are_refused(levels):
    tokens = np.zeros((1, 1, 1), np.int64)

    with pytest.raises(PluginError, match=r"levels of quantiles are \[.*\]; expected some between 0 and 1"):
        Paths(np.zeros((1, 1, 1, 6), np.float32), tokens, tokens, np.ones(1)).quantiles(levels)


def test_prices_scale_with_the_window(network, tokenizer):
    pipeline = KronosPipeline(tokenizer, network, 32)
    plain = pipeline.paths([window(0)], stamps(1, 26), 6, seeds=[1])
    scaled = pipeline.paths([window(0) * 4], stamps(1, 26), 6, seeds=[1])

    np.testing.assert_allclose(scaled.values, plain.values * 4, rtol=1e-3)


def test_a_window_is_normalised_by_its_own_mean_and_deviation():
    values = window(1)
    values[:, 2] = 0.1  # constant, and not a sum of powers of two
    made = normalise(values)

    assert made.values[:, 2].tolist() == [0] * 20
    np.testing.assert_allclose(made.values[:, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(made.values * made.scale + made.mean, values, rtol=1e-4)
    spike = values.copy()
    spike[3, 4] = 1e9
    assert normalise(spike).values.max() <= 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.__setitem__((3, 1), np.nan), "high of bar 3 in the window is nan; expected a finite number"),
        (lambda v: v.__setitem__((0, 4), np.inf), "volume of bar 0 in the window is inf"),
    ],
)
def test_numbers_that_are_none_are_refused(spoil, message):
    values = window(0)
    spoil(values)

    with pytest.raises(PluginError, match=message):
        normalise(values)


def test_windows_must_fit_each_other(network, tokenizer):
    pipeline = KronosPipeline(tokenizer, network, 32)

    with pytest.raises(PluginError, match=r"windows of \[19, 20\] bars"):
        pipeline.paths([window(0), window(0, 19)], stamps(2, 26), 6, seeds=[1, 2])
    with pytest.raises(PluginError, match=r"stamps of shape .* expected \[1, 20 \+ 6, 5\]"):
        pipeline.paths([window(0)], stamps(1, 25), 6, seeds=[1])
    with pytest.raises(PluginError, match="0 seeds for 1 windows"):
        pipeline.paths([window(0)], stamps(1, 26), 6)
    with pytest.raises(PluginError, match=r"expected \[bars, 6\]"):
        normalise(window(0)[:, :5])


def test_volume_and_amount_are_completed_as_the_original_does():
    prices = {name: np.array([1.0, 2.0]) for name in ("open", "high", "low", "close")}

    assert with_amount(prices)[:, 4:].tolist() == [[0, 0], [0, 0]]
    assert with_amount({**prices, "volume": np.array([3.0, 4.0])})[:, 4:].tolist() == [[3, 3], [4, 8]]
    with pytest.raises(PluginError, match="an amount without a volume"):
        with_amount({**prices, "amount": np.array([3.0, 4.0])})
    with pytest.raises(PluginError, match="close is missing"):
        with_amount({name: prices[name] for name in ("open", "high", "low")})


@pytest.mark.parametrize("clock", [UTC, ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")])
def test_stamps_are_those_of_the_wall_clock(clock):
    times = np.array([nanoseconds(datetime(2024, 2, 29, 23, 55, tzinfo=UTC)) + k * 37 * 60 * 10**9 for k in range(99)])

    for time, stamp in zip(times, stamps_of(times, clock), strict=True):
        moment = datetime.fromtimestamp(time / 1e9, clock)
        assert stamp.tolist() == [moment.minute, moment.hour, moment.weekday(), moment.day, moment.month]


def test_bars_that_cannot_be_are_repaired_and_counted():
    paths = np.array([[[10.0, 9, 11, 12, -1, 5]], [[10, 13, 8, 12, 1, 5]]], np.float32)

    values, counts = repaired(paths)

    assert values[0, 0].tolist() == [10, 12, 10, 12, 0, 5]
    assert values[1, 0].tolist() == [10, 13, 8, 12, 1, 5]
    assert (counts.highs, counts.lows, counts.volumes) == (1, 1, 1)


def test_published_sizes_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in Kronos(sizes).parameters()) for name, sizes in MODELS.items()}
        token = {
            name: sum(p.numel() for p in KronosTokenizer(sizes).parameters()) for name, sizes in TOKENIZERS.items()
        }

    assert counts == {"mini": 4_108_032, "small": 24_741_376, "base": 102_310_592, "large": 499_246_976}
    assert set(token.values()) == {3_958_042}


def save_checkpoint(folder, module, change=None):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(vars(module.sizes)))
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    if change is not None:
        change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_checkpoints_are_loaded_with_and_without_their_buffers(tmp_path, network, tokenizer):
    save_checkpoint(tmp_path / "model", network)
    save_checkpoint(
        tmp_path / "tok", tokenizer, lambda of: [of.pop(n) for n in list(of) if n.endswith(("inv_freq", "basis"))]
    )

    assert not load_model(tmp_path / "model").training
    for name, tensor in load_tokenizer(tmp_path / "tok").state_dict().items():
        assert torch.equal(tensor, tokenizer.state_dict()[name])
    assert [check.is_ok for check in verify_folder(tmp_path / "model")] == [True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda of: of.pop("norm.weight"), "missing norm.weight"),
        (lambda of: of.update(extra=torch.zeros(1)), "foreign extra"),
        (lambda of: of.update({"norm.weight": torch.zeros(3)}), r"norm.weight has shape \[3\]; its sizes say \[32\]"),
        (
            lambda of: of.update({"transformer.0.self_attn.rotary.inv_freq": torch.zeros(8)}),
            "the buffer .* is not what",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, network, change, message):
    save_checkpoint(tmp_path / "m", network, change)

    with pytest.raises(PluginError, match=message):
        load_model(tmp_path / "m")


def test_impossible_sizes_are_refused(tmp_path, network):
    (tmp_path / "config.json").write_text(json.dumps({**vars(network.sizes), "n_heads": 5}))
    with pytest.raises(PluginError, match="d_model 32 over 5 heads"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**vars(network.sizes), "n_layer": 5}))
    with pytest.raises(PluginError, match="unknown 'n_layer'; did you mean 'n_layers'"):
        load_model(tmp_path)
    with pytest.raises(PluginError, match="is not a folder"):
        load_model(tmp_path / "nowhere")


def test_a_tokenizer_of_other_bits_is_refused(network):
    foreign = KronosTokenizer(TOKENIZERS["base"])

    with pytest.raises(PluginError, match="they do not belong together"):
        KronosPipeline(foreign, network, 32)
