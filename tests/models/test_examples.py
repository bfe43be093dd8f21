"""Example artefacts: small, the same each time, honest, and loadable by what a run loads them with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.forecasts import ForecastKind, Windows
from models.artefact import load_artefact
from models.examples import EXAMPLES, SOURCE, write_examples
from models.forecasters import load_forecaster
from models.position.policy import HeadPolicy

KINDS = {
    "kronos": ForecastKind.PATHS,
    "krnn": ForecastKind.SCORE,
    "price_transformer": ForecastKind.QUANTILES,
    "tft": ForecastKind.MULTI,
}
OPTIONS = {"kronos": {"lookback": 32, "horizon": 4, "samples": 3}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    write_examples(made)
    return made


def windows_for(spec, count: int = 3) -> Windows:
    random = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, (count, spec.lookback)), axis=1))
    columns = {
        "open": close * 0.999,
        "high": close * 1.01,
        "low": close * 0.99,
        "close": close,
        "volume": random.lognormal(3, 1, close.shape),
        "amount": close * 20,
    }
    values = np.stack([columns[name] for name in spec.inputs], axis=-1).astype(np.float32)
    hours = np.arange(count * (spec.lookback + spec.horizon)).reshape(count, -1)
    known = {
        "minute": hours * 0,
        "hour": hours % 24,
        "weekday": hours // 24 % 7,
        "day": hours % 28 + 1,
        "month": hours * 0 + 1,
    }
    calendar = np.stack([known[name] for name in spec.calendar], axis=-1) if spec.calendar else None
    return Windows(
        values, tuple("ABC"[:count]), np.arange(1, count + 1) * HOUR, np.arange(count, dtype=np.uint64), calendar
    )


def test_they_are_small_the_same_each_time_and_say_what_they_are(folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    again = write_examples(tmp_path)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 5_000_000
    for name in EXAMPLES:
        artefact = load_artefact(folder / name)
        assert artefact.hash == again[name].hash
        assert artefact.card.source == SOURCE
        assert artefact.card.trained_until is None  # unknown, which counts as contaminated


@pytest.mark.parametrize("name", KINDS)
def test_each_forecasts_what_its_kind_says(folder: Path, name: str) -> None:
    forecaster = load_forecaster(name, folder / name, timeframe="1h", device="cpu", options=OPTIONS.get(name))
    spec = forecaster.spec

    values = forecaster.forecast(windows_for(spec)).values

    assert spec.kind is KINDS[name]
    assert values.shape == (3, *spec.shape)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert len(np.unique(values[:, ..., 0].ravel().round(6))) > 1


def test_outputs_carry_the_quantiles_and_what_the_head_reads(folder: Path) -> None:
    at = folder / "price_transformer"
    plain = load_forecaster("price", at, device="cpu")
    named = load_forecaster("price", at, device="cpu", options={"gives": "outputs"})
    head = HeadPolicy(load_artefact(folder / "position_head"), "head")
    windows = windows_for(plain.spec)

    quantiles, outputs = plain.forecast(windows).values, named.forecast(windows).values

    assert set(head.spec.inputs) <= set(named.spec.outputs)
    assert head.spec.reads == plain.spec.artefact == named.spec.artefact == load_artefact(at).hash
    np.testing.assert_allclose(outputs[:, 0], quantiles[:, -1, 1], rtol=1e-6)  # the median return to the end
    closes = windows.values[..., 3].astype(np.float64)
    unit = np.diff(np.log(closes), axis=1).std(axis=1) * np.sqrt(7)
    np.testing.assert_allclose(outputs[:, named.spec.outputs.index("q90_7")] * unit, quantiles[:, -1, 2], rtol=1e-4)


def test_a_transformer_s_answer_depends_on_its_own_window_alone(folder: Path) -> None:
    forecaster = load_forecaster("tft", folder / "tft", device="cpu")
    windows = windows_for(forecaster.spec)
    alone = Windows(
        windows.values[1:2],
        windows.symbols[1:2],
        windows.as_of[1:2],
        windows.seeds[1:2],
        None if windows.calendar is None else windows.calendar[1:2],
    )

    together = forecaster.forecast(windows).values
    np.testing.assert_allclose(forecaster.forecast(alone).values[0], together[1], atol=1e-5)
    chances = together[:, [forecaster.spec.outputs.index(name) for name in ("up", "drawdown")]]
    assert (chances >= 0).all()
    assert (chances <= 1).all()
