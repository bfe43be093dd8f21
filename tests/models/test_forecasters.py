"""Artefacts as forecasters: what they answer through the engine is what their networks say of the same windows."""

import ast
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import Bars, Forecast, PluginError, SettingsError, Strategy
from engine.bars import HOUR
from engine.forecasting.book import ForecastTerms
from engine.forecasting.store import ForecastStore
from engine.forecasts import ForecastKind, Forecasts, Windows
from engine.journal.memory import MemoryJournal
from engine.records import DecisionRow
from engine.testing import NEW_YEAR_2024, make_bars, run_bars
from models.alpha360 import alpha360, alpha360_of_windows, with_vwap
from models.artefact import ArtefactCard, load_artefact, save_artefact
from models.examples import EXAMPLES
from models.forecasters import load_forecaster, sources_of
from models.krnn import KRNN, KRNNConfiguration, card_configuration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer
from models.position.price_transformer import PriceSizes, PriceTransformer

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    yield
    torch.set_num_threads(before)


def bars(count: int = 90, seed: int = 2) -> Bars:
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, count)))
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) * 1.003, np.minimum(open_, close) * 0.997
    volume = generator.exponential(1e6, count)
    return make_bars(np.round(np.column_stack([open_, high, low, close, volume]), 4).tolist(), timeframe="1h")


def kronos(folder: Path, *, is_upside_down: bool = False) -> Path:
    """Write a small Kronos; upside down, its highs lie below its lows and its volumes below 0."""
    sizes = ModelSizes(5, 5, 2, 32, 2, 64, 0.0, 0.0, 0.0, 0.0, True)
    coder = TokenizerSizes(6, 32, 2, 64, 2, 2, 0.0, 0.0, 0.0, 5, 5, 0.05, 1.0, 1.1, 0.05, 5)
    network, tokenizer = Kronos(sizes), KronosTokenizer(coder)
    if is_upside_down:
        with torch.no_grad():
            tokenizer.head.bias.copy_(torch.tensor([0.0, -1.0, 1.0, 0.0, -5.0, 0.0]))
    card = ArtefactCard("kronos", {"model": asdict(sizes), "tokenizer": asdict(coder), "max_context": 32})
    save_artefact(folder, card, dict(network.state_dict()), tokenizer=dict(tokenizer.state_dict()))
    return folder


def krnn(folder: Path, **changes: Any) -> Path:
    of = KRNNConfiguration(6, 8, 3, 8, 2, 1)
    card = ArtefactCard(
        "krnn",
        card_configuration(of),
        layout="field_major",
        timeframe="1h",
        lookback=60,
        horizon=1,
        label={"lag": 1, "horizon": 1},
        trained_until=NEW_YEAR_2024 + 70 * HOUR,
        scalers={"kind": "robust", "clip": 3.0},
        conventions={"vwap": "typical", "volume": "floor"},
    )
    scalers = {"median": torch.ones(360), "scale": torch.full((360,), 0.05)}
    save_artefact(folder, replace(card, **changes), dict(KRNN(of).state_dict()), scalers=scalers)
    return folder


def price_transformer(folder: Path) -> Path:
    sizes = PriceSizes(d_model=16, n_layers=1, n_heads=2, kv_rank=8, rope=4, nope=4, value=8, ff_dim=16, horizons=3)
    network = PriceTransformer(sizes)
    card = ArtefactCard("price_transformer", asdict(sizes), timeframe="1h", lookback=30)
    save_artefact(folder, card, dict(network.state_dict()))
    return folder


def tft(folder: Path) -> Path:
    EXAMPLES["tft"](folder)
    return folder


MAKERS = {"kronos": kronos, "krnn": krnn, "price_transformer": price_transformer, "tft": tft}
OPTIONS: dict[str, dict[str, Any]] = {"kronos": {"horizon": 3, "lookback": 20, "samples": 4}}


class Listens(Strategy):
    seen: list[Forecast]

    def on_start(self) -> None:
        self.seen = []
        self.forecasts("model")

    def on_forecast(self, forecast: Forecast) -> None:
        self.seen.append(forecast)


def loaded(name: str, folder: Path, **options: Any) -> Any:
    chosen = {**OPTIONS.get(name, {}), **options}
    return load_forecaster("model", folder, timeframe="1h", device="cpu", options=chosen)


def seen_of(forecaster: Any, data: Bars, **terms: Any) -> list[Forecast]:
    strategy = Listens()
    run_bars(data, strategy, forecasters={"model": forecaster}, forecast_terms=ForecastTerms(**terms))
    return strategy.seen


@pytest.mark.parametrize("name", MAKERS)
def test_one_by_one_and_in_batches_are_the_same_and_know_nothing_of_what_comes(name: str, tmp_path: Path) -> None:
    forecaster = loaded(name, MAKERS[name](tmp_path / name))
    data = bars()
    end = 75
    noise = bars(seed=9)
    poisoned = replace(
        data,
        **{
            field: np.concatenate([getattr(data, field)[:end], getattr(noise, field)[end:]])
            for field in ("open", "high", "low", "close", "volume")
        },
    )

    whole = seen_of(forecaster, data)
    one_by_one = seen_of(forecaster, data, batch=1, is_ahead=False)
    before = [one for one in whole if one.as_of <= int(data.close_time[end - 1])]

    assert len(before) > 10
    for one, other in zip(whole, one_by_one, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-5)
    for other, batch in ((data[:end], 1), (data[:end], 256), (data[:end], 7), (poisoned, 1), (poisoned, 256)):
        pairs = zip(seen_of(forecaster, data, batch=batch), seen_of(forecaster, other, batch=batch), strict=False)
        for one, again in pairs:
            if one.as_of <= int(data.close_time[end - 1]):
                np.testing.assert_array_equal(one.values, again.values)


class Trades(Listens):
    """Holds while each forecast is above the one before."""

    def on_forecast(self, forecast: Forecast) -> None:
        super().on_forecast(forecast)
        is_more = forecast.strength > self.seen[-2:][0].strength
        self.target(forecast.symbol, 0.5 if is_more else 0.0, why=f"more: {is_more}")


@pytest.mark.parametrize("name", MAKERS)
def test_decisions_are_the_same_in_batches_and_one_by_one_and_a_second_run_asks_nothing(
    name: str, tmp_path: Path
) -> None:
    forecaster, data = loaded(name, MAKERS[name](tmp_path / name)), bars()

    def decisions(**terms: Any) -> tuple[Any, int]:
        journal = MemoryJournal()
        result = run_bars(
            data, Trades(), journal=journal, forecasters={"model": forecaster}, forecast_terms=ForecastTerms(**terms)
        )
        with journal.snapshot() as reader:
            made = [(row.time, row.action, row.why) for row in reader.rows(DecisionRow, 1)]
        return (made, result.fills_hash), result.forecasts["models"]["model"]["calls"]

    with ForecastStore(tmp_path / "forecasts.db") as store:
        batched, calls = decisions(store=store)
        again, none = decisions(store=store)
    one_by_one, many = decisions(batch=1, is_ahead=False)

    assert len(batched[0]) > 3
    assert batched == one_by_one == again
    assert (calls, none) == (1, 0)
    assert many > 10


def test_kronos_gives_paths_in_the_units_of_the_bars(tmp_path: Path) -> None:
    forecaster = loaded("kronos", kronos(tmp_path / "a"))

    [first, *_] = seen_of(forecaster, bars(40))

    assert first.spec.kind is ForecastKind.PATHS
    assert first.values.shape == (4, 3, 6)
    assert 50 < float(first.values[..., 3].mean()) < 200
    assert len(np.unique(first.values[:, -1, 3])) > 1  # chance is at work
    assert "contaminated" in first.flags  # nobody knows what it was trained on


@pytest.mark.parametrize(("options", "words"), [
    ({}, ""),
    ({"lookback": 31}, "31 tokens of history, 3 steps, of which 1 run the whole window anew, for it is full"),
    ({"lookback": 31, "overflow": "budget"}, "the lookback of 31 bars is cut to what the context of 32 leaves"),
    ({"lookback": 31, "overflow": "chunked"}, "other numbers than the original's: overflow is chunked"),
    ({"dtype": "bfloat16"}, "bfloat16 weights: not exact"),
])  # fmt: skip
def test_what_is_dear_or_not_exact_is_told(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    told = loaded("kronos", kronos(tmp_path / "a"), **options).spec.about

    assert words in told
    assert bool(told) is bool(words)


def test_bars_that_cannot_be_are_left_as_they_are_unless_repairs_are_asked_for(tmp_path: Path) -> None:
    folder = kronos(tmp_path / "a", is_upside_down=True)

    def impossible(one: Forecast) -> bool:
        body = one.values[..., [0, 3]]
        return bool(
            (one.values[..., 1] < body.max(-1)).any() or (one.values[..., 2] > body.min(-1)).any()
            or (one.values[..., 4:] < 0).any()
        )

    as_said, repaired = (seen_of(loaded("kronos", folder, repairs=wanted), bars(40)) for wanted in (False, True))

    assert any(map(impossible, as_said))
    assert not any("repaired" in one.flags for one in as_said)
    assert not any(map(impossible, repaired))
    assert [impossible(one) for one in as_said] == ["repaired" in one.flags for one in repaired]


def test_chance_belongs_to_the_window_and_not_to_its_batch(tmp_path: Path) -> None:
    forecaster = loaded("kronos", kronos(tmp_path / "a"))
    values = np.stack([np.column_stack([bars(20, seed).close] * 6) for seed in range(5)]).astype(np.float32)
    calendar = np.tile(np.arange(23) % 12 + 1, (5, 1))[..., None].repeat(5, axis=2) % 7

    def ask(rows: list[int]) -> Any:
        return forecaster.forecast(
            Windows(
                values[rows],
                tuple("ABCDE"[row] for row in rows),
                np.array(rows, np.int64),
                np.array([100 + row for row in rows], np.uint64),
                calendar[rows].astype(np.int64),
            )
        ).values

    together = ask([0, 1, 2, 3, 4])
    np.testing.assert_allclose(ask([3])[0], together[3], rtol=1e-4)
    np.testing.assert_allclose(ask([4, 3, 0])[1], together[3], rtol=1e-4)


def test_a_krnn_scores_what_alpha360_says_of_the_bars(tmp_path: Path) -> None:
    folder = krnn(tmp_path / "a")
    forecaster = loaded("krnn", folder)
    data = bars()

    seen = seen_of(forecaster, data)

    vwap = with_vwap(data.high, data.low, data.close, data.volume, None)
    matrix = alpha360(
        {
            "open": data.open,
            "high": data.high,
            "low": data.low,
            "close": data.close,
            "volume": data.volume,
            "vwap": vwap,
        }
    )[59:]
    fed = torch.from_numpy(np.clip((matrix - 1) / np.float32(0.05), -3, 3))
    with torch.inference_mode():
        expected = forecaster._network(fed).numpy()
    np.testing.assert_allclose([one.score for one in seen], expected, atol=2e-4)
    assert forecaster.spec.horizon == 2  # one bar until the trade, one held
    assert [one.as_of < NEW_YEAR_2024 + 70 * HOUR for one in seen] == ["contaminated" in one.flags for one in seen]


def test_rows_of_windows_are_the_rows_of_the_whole() -> None:
    data = bars(70)
    fields = {name: getattr(data, name) for name in ("open", "high", "low", "close", "volume")}
    fields["volume"] = np.where(np.arange(70) % 7 == 3, 0.0, data.volume)  # nothing was traded in some
    vwap = with_vwap(data.high, data.low, data.close, fields["volume"], None)
    windows = {name: np.lib.stride_tricks.sliding_window_view(values, 60) for name, values in fields.items()}

    np.testing.assert_array_equal(alpha360_of_windows(windows), alpha360({**fields, "vwap": vwap})[59:])


def test_a_price_transformer_gives_log_returns_in_order(tmp_path: Path) -> None:
    forecaster = loaded("price_transformer", price_transformer(tmp_path / "a"))

    seen = seen_of(forecaster, bars())

    assert seen[0].values.shape == (3, 3)
    assert all((np.diff(one.values, axis=1) > 0).all() for one in seen)
    assert max(float(np.abs(one.values).max()) for one in seen) < 0.5  # not units of volatility


def test_what_decides_answers_decides_the_hash(tmp_path: Path) -> None:
    folder, other = kronos(tmp_path / "a"), kronos(tmp_path / "b")
    hashes = {
        loaded("kronos", folder).spec.model_hash,
        loaded("kronos", folder, samples=5).spec.model_hash,
        loaded("kronos", folder, temperature=0.9).spec.model_hash,
        loaded("kronos", other).spec.model_hash,
    }

    assert len(hashes) == 4
    assert loaded("kronos", folder).spec.model_hash in hashes


def imports_of(file: Path) -> set[Path]:
    """Files of this project that a file imports, of networks and features; artefacts and devices decide no number."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    decides = ("models.", "engine.indicator")
    apart = ("models.artefact", "models.devices", "models.foreign", "models.verification", "models.training")
    found = {name for name in names if name.startswith(decides) and not name.startswith(apart)}
    return {path for name in found if (path := ROOT / f"{name.replace('.', '/')}.py").is_file()}


@pytest.mark.parametrize("architecture", ["kronos", "krnn", "price_transformer", "tft"])
def test_all_code_that_decides_an_answer_is_in_the_hash(architecture: str) -> None:
    hashed = set(sources_of(architecture))

    for file in hashed:
        if file.parent != ROOT / "models":  # forecasters.py and rebuilding.py know of every network
            assert imports_of(file) <= hashed, file


def test_what_does_not_fit_memory_is_told_as_such(tmp_path: Path) -> None:
    forecaster = loaded("krnn", krnn(tmp_path / "a"))

    class Full:
        configuration = forecaster._network.configuration
        out_fc = forecaster._network.out_fc

        def infer(self, *_: Any) -> Forecasts:
            raise RuntimeError("CUDA out of memory. Tried to allocate")

    forecaster._network = Full()
    with pytest.raises(PluginError, match="not even one window of 60 bars fits into memory"):
        seen_of(forecaster, bars())


@pytest.mark.parametrize(("name", "options", "message"), [
    ("kronos", {"horizn": 3}, "model model: unknown option 'horizn'; there are .*; did you mean 'horizon'"),
    ("kronos", {"samples": 0}, "kronos: samples is 0; expected a whole number of 1 or more"),
    ("kronos", {"dtype": "int4"}, "kronos: dtype is 'int4'; expected float32 or bfloat16"),
    ("kronos", {"overflow": "roll"}, "kronos: overflow is 'roll'; expected exact, budget, chunked"),
    ("kronos", {"repairs": 1}, "kronos: repairs is 1; expected true or false"),
    ("krnn", {"samples": 2}, "unknown option 'samples'; a krnn has none"),
])  # fmt: skip
def test_options_that_there_are_not_are_refused(
    name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        loaded(name, MAKERS[name](tmp_path / "a"), **options)


@pytest.mark.parametrize(("conventions", "options", "expected"), [
    ({}, {}, ("UTC", "24/7")),
    ({"clock": "Asia/Tokyo"}, {}, ("Asia/Tokyo", "24/7")),
    ({"future_stamps": "XNYS"}, {}, ("America/New_York", "XNYS")),
    ({"future_stamps": "XNYS", "clock": "UTC"}, {}, ("UTC", "XNYS")),
    ({"future_stamps": "XNYS"}, {"future_stamps": "XSHG", "clock": "UTC"}, ("UTC", "XSHG")),
    ({"future_stamps": "XNYS"}, {"future_stamps": "weekdays"}, ("UTC", "weekdays")),
])  # fmt: skip
def test_clock_and_calendar_are_the_artefacts_unless_settings_say_otherwise(
    conventions: dict[str, Any], options: dict[str, Any], expected: tuple[str, str], tmp_path: Path
) -> None:
    artefact = load_artefact(kronos(tmp_path / "a"))
    card = replace(artefact.card, conventions=conventions)
    save_artefact(tmp_path / "a", card, dict(artefact.weights), tokenizer=dict(artefact.tensors["tokenizer"]))

    spec = loaded("kronos", tmp_path / "a", **options).spec

    assert (spec.clock, spec.future_stamps) == expected


def test_a_timeframe_must_be_known_and_the_artefacts_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="timeframe is 4h, but .* was trained on bars of 1h"):
        load_forecaster("model", krnn(tmp_path / "a"), timeframe="4h")
    with pytest.raises(SettingsError, match="does not say of which bars; give timeframe, such as 1h"):
        load_forecaster("model", kronos(tmp_path / "b"))


def test_a_krnn_of_other_features_than_windows_give_is_refused(tmp_path: Path) -> None:
    of = KRNNConfiguration(5, 8, 3, 8, 2, 1)
    save_artefact(tmp_path / "a", ArtefactCard("krnn", card_configuration(of), layout="field_major", timeframe="1h"),
                  dict(KRNN(of).state_dict()))

    with pytest.raises(PluginError, match="reads 5 numbers a bar, and windows give it the 6 of Alpha360"):
        loaded("krnn", tmp_path / "a")


def test_a_kronos_whose_card_lacks_its_sizes_is_refused(tmp_path: Path) -> None:
    artefact = load_artefact(kronos(tmp_path / "a"))
    card = replace(artefact.card, configuration={"model": artefact.card.configuration["model"]})
    save_artefact(tmp_path / "b", replace(card, timeframe="1h"), dict(artefact.weights))

    with pytest.raises(PluginError, match="model model: there is no 'tokenizer'; expected an object"):
        loaded("kronos", tmp_path / "b")


def test_an_artefact_of_something_else_is_refused(tmp_path: Path) -> None:
    save_artefact(tmp_path / "a", ArtefactCard("position_head", {}), {"a": torch.zeros(1)})

    with pytest.raises(PluginError, match="is a position_head, which makes no forecasts; expected one of kronos"):
        load_forecaster("model", tmp_path / "a", timeframe="1h")
