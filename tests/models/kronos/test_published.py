"""The regression test of the published weights, on small networks that stand for them."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import PluginError
from models.kronos.preparation import normalise, stamps_of
from models.kronos.published import verify_published
from models.kronos.reference import naive_generation
from models.kronos.sampling import Sampling, greedy

COLUMNS = ("timestamps", "open", "high", "low", "close", "volume", "amount")
BARS = 120


@pytest.fixture(scope="module")
def bars() -> tuple[np.ndarray, np.ndarray]:
    """Return the six fields of 5-minute bars, and their times."""
    rng = np.random.default_rng(3)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.002, BARS)))
    volume = rng.lognormal(5, 1, BARS)
    values = np.stack([close * 0.999, close * 1.002, close * 0.998, close, volume, volume * close], axis=1)
    times = np.datetime64("2024-06-18T11:15:00", "ns") + np.arange(BARS) * np.timedelta64(300, "s")
    return np.round(values, 4), times


def original(network, tokenizer, values, times, start, context, horizon) -> np.ndarray:
    """Return the greedy forecast as the original makes it: every window anew, nothing kept."""
    window = normalise(values[start - context : start])
    stamps = stamps_of(times[start - context : start + horizon].astype(np.int64))
    with torch.inference_mode():
        past = tokenizer.encode(torch.from_numpy(window.values)[None])
        stamp = torch.from_numpy(stamps)[None]
        more = naive_generation(network, Sampling(1.0, 1, 1.0), greedy, 512, *past, stamp, horizon, 1)
        s1, s2 = (torch.cat(pair, 1) for pair in zip(past, more, strict=True))
        ahead = tokenizer.decode(s1, s2)[0, -horizon:].numpy()
    return ahead * window.scale + window.mean


def write(path, values, times):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for time, row in zip(times, values, strict=True):
            writer.writerow([str(time).replace("T", " ")[:19], *(repr(float(number)) for number in row)])


def save(folder, module):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(vars(module.sizes)))
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, folder / "model.safetensors")
    return str(folder)


@pytest.fixture
def case(tmp_path, network, tokenizer, bars):
    """A folder as the original's, its weights in two others, and the environment that names them."""
    folder = tmp_path / "published"
    folder.mkdir()
    values, times = bars
    write(folder / "regression_input.csv", values, times)
    for context in (40, 20):
        made = original(network, tokenizer, values, times, context, context, 8)
        write(folder / f"regression_output_{context}.csv", made, times[context : context + 8])
    environment = {
        "BARCAST_KRONOS_SMALL": save(tmp_path / "small", network),
        "BARCAST_KRONOS_TOKENIZER": save(tmp_path / "tokenizer", tokenizer),
    }
    return folder, environment


def mean_error(network, tokenizer, values, times, context) -> float:
    drawn = np.random.RandomState(123).choice(BARS - 30 - context, 4, replace=False) + context
    return float(
        np.mean(
            [
                np.mean(
                    (
                        original(network, tokenizer, values, times, start, context, 30)[:, :4]
                        - values[start : start + 30, :4]
                    )
                    ** 2
                )
                for start in drawn
            ]
        )
    )


def test_forecasts_and_errors_are_those_of_the_original(case, network, tokenizer, bars):
    folder, environment = case
    expected = mean_error(network, tokenizer, *bars, 40)

    checks = list(verify_published(folder, environment, {40: expected}))

    assert [check.name.partition(":")[0] for check in checks] == [
        "8 bars after 20",
        "8 bars after 40",
        "mean squared error of 4 forecasts after 40 bars",
    ]
    assert [check for check in checks if not check.is_ok or check.skipped] == []
    assert [check.is_ok for check in verify_published(folder, environment, {40: expected + 2e-6})] == [
        True,
        True,
        False,
    ]


def test_another_forecast_is_told(case):
    folder, environment = case
    path = folder / "regression_output_20.csv"
    lines = path.read_text().splitlines()
    fields = lines[4].split(",")
    fields[2] = str(float(fields[2]) * (1 + 5e-5))
    path.write_text("\n".join([*lines[:4], ",".join(fields), *lines[5:]]))

    assert [check.is_ok for check in verify_published(folder, environment, {})] == [False, True]


def test_weights_in_the_cache_of_the_hub_are_found(case, tmp_path, network, tokenizer):
    folder, _ = case
    revisions = {
        "Kronos-small": (network, "901c26c1332695a2a8f243eb2f37243a37bea320"),
        "Kronos-Tokenizer-base": (tokenizer, "0e0117387f39004a9016484a186a908917e22426"),
    }
    for name, (module, revision) in revisions.items():
        save(tmp_path / "hub" / f"models--NeoQuasar--{name}" / "snapshots" / revision, module)

    for environment in ({"HF_HOME": str(tmp_path)}, {"HF_HUB_CACHE": str(tmp_path / "hub")}):
        assert [check.is_ok for check in verify_published(folder, environment, {})] == [True, True]


def test_what_is_not_at_hand_is_named(case, tmp_path):
    folder, environment = case
    (only,) = verify_published(folder, {**environment, "BARCAST_KRONOS_SMALL": "", "HOME": str(tmp_path)})

    assert only.is_ok
    assert only.skipped.endswith("not at hand here: NeoQuasar/Kronos-small (BARCAST_KRONOS_SMALL names its folder)")
    with pytest.raises(PluginError, match=r"BARCAST_KRONOS_SMALL is /nowhere, where there is no model\.safetensors"):
        list(verify_published(folder, {**environment, "BARCAST_KRONOS_SMALL": "/nowhere"}))


def test_files_that_do_not_belong_together_are_refused(case, bars):
    folder, environment = case
    values, times = bars
    write(folder / "regression_output_20.csv", values[:8], times[:8])
    with pytest.raises(PluginError, match="its times are not those that follow the first 20 bars"):
        list(verify_published(folder, environment, {}))
    (folder / "regression_input.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PluginError, match=r"regression_input\.csv cannot be read: .*expected timestamps, open, high"):
        list(verify_published(folder, environment, {}))
