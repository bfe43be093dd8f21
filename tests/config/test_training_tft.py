"""`main.py train tft` from settings to an artefact that a forecaster runs; macro files, allow-lists, plots, stages."""

import json
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from config.asking import ask
from config.assembly import run_backtest
from config.data import bars_of, feed_of
from config.evaluation import evaluate
from config.evaluation_page import page
from config.forecasts import make_forecasters
from config.selecting import run_selection
from config.settings import ROOT, load_settings, settings_from
from config.tft_recipe import make_tft
from config.training import make_split, run_training
from config.training_data import macro_of, make_data_plan, make_table, read_allow_list
from config.training_settings import load_training
from engine.bars import DAY, HOUR, Stream, iso, nanoseconds
from engine.errors import DataError, PluginError, SettingsError
from engine.forecasting.history import known_histories
from engine.forecasting.windows import Request, WindowCutter
from engine.forecasts import Windows
from feeds.memory import MemoryFeed
from feeds.series import read_series
from models.artefact import load_artefact, save_artefact
from models.forecasters import load_forecaster
from models.training.panel import Panel
from models.training.recipe import Moment
from tests.models.training.markets import walk

EXAMPLE = ROOT / "config" / "examples" / "training" / "tft.toml"
SMALL = ("data.bars=500", "train.epochs=2", "tft.lookback=8", "log.tensorboard=false", "tft.plots_every=2")


def settings(tmp_path, *changes):
    return load_training(EXAMPLE, [*SMALL, f"train.folder={tmp_path}", *changes])


def test_a_run_tells_what_was_left_out_draws_and_adds_its_line(tmp_path):
    said: list[str] = []
    done = run_training("tft", settings(tmp_path), say=said.append)

    assert done.metric == "composite"
    assert "left out: warm-up" in said[0]
    assert (done.folder / "data.txt").read_text().strip() == said[0]
    plots = {path.name for path in (done.folder / "plots" / "epoch-0002").iterdir()}
    assert plots == {"logreturn.png", "drawdown_prob.png", "realized_vol.png"}
    run_training("tft", settings(tmp_path, "train.seed=1"))
    lines = [json.loads(line) for line in (tmp_path / "stages" / "tft.jsonl").read_text().splitlines()]
    assert [line["metric"] for line in lines] == ["composite", "composite"]
    assert lines[0]["run"] == done.folder.name
    assert lines[0]["val_loss"] == pytest.approx(done.metrics["val_loss"])


def test_its_artefact_forecasts_in_the_engine_what_it_was_trained_to_say(tmp_path):
    done = run_training("tft", settings(tmp_path, "train.epochs=1"))
    forecaster = load_forecaster("m", done.artefact, device="cpu")
    spec = forecaster.spec
    assert spec.outputs[:2] == ("logreturn", "logreturn_q10")
    assert spec.horizon == 4
    assert spec.return_output == "logreturn"
    assert tuple(spec.return_quantiles) == (0.1, 0.5, 0.9)

    # The same windows as the recipe's own, cut from bars as the engine cuts them.
    given = settings(tmp_path, "train.epochs=1")
    panel = Panel.of(bars_of(feed_of(given.data, given.train.seed)), "")
    recipe, _ = make_tft(given, panel, make_split(given, panel))
    network = recipe.network()
    weights = load_artefact(done.artefact).weights
    network.load_state_dict({**network.state_dict(), **weights})
    recipe.validate(network.eval(), Moment(0, 0, 1.0))
    places = np.arange(0, len(recipe.valid), 37)
    rows = recipe.valid.rows.numpy()[places]
    table = recipe.table
    starts = np.array([group.rows.start for group in table.groups])[recipe.valid.groups[places]]
    enough = rows - starts >= spec.lookback
    places, rows = places[enough], rows[enough]
    hourly = [panel.source.of(s) for s in panel.source.streams if s.timeframe == "1h"]
    values, calendar, symbols = [], [], []
    for place, row in zip(places, rows, strict=True):
        group = table.groups[recipe.valid.groups[place]]
        bars = hourly[recipe.valid.groups[place]]
        at = row - group.rows.start
        cut = slice(at + 1 - spec.lookback, at + 1)
        values.append(np.stack([getattr(bars, name)[cut] for name in spec.inputs], axis=1))
        opens = bars.open_time[at] + HOUR * np.arange(1 - spec.lookback, spec.horizon + 1)
        of = {"hour": opens // HOUR % 24, "weekday": (opens // DAY + 3) % 7}
        calendar.append(np.stack([of[name] for name in spec.calendar], axis=1))
        symbols.append(group.symbol)
    nothing = np.zeros(len(rows), np.int64)
    windows = Windows(
        np.stack(values).astype(np.float32), tuple(symbols), nothing, nothing.astype(np.uint64),
        calendar=np.stack(calendar),
    )
    made = forecaster.forecast(windows).values
    expected = recipe.validation.said["drawdown_prob"][places, 0]
    np.testing.assert_allclose(made[:, spec.outputs.index("drawdown_prob")], expected, rtol=1e-3, atol=1e-4)


def test_macro_series_are_read_with_the_time_they_became_known(tmp_path):
    frame = pd.DataFrame({"known": ["2024-01-03", "2024-01-01T12:00Z"], "fear": [3.0, 1.0], "note": ["b", "a"]})
    frame.to_csv(tmp_path / "fear.csv", index=False)
    given = settings(tmp_path, f'tft.macro=[{{path="{tmp_path}/fear.csv", time="known", columns="fear"}}]')
    slow = macro_of(given.tft.macro[0])
    assert slow.names == ("fear",)
    assert slow.values[:, 0].tolist() == [1.0, 3.0]
    assert slow.available_at.tolist() == [1704110400 * 10**9, 1704240000 * 10**9]
    frame.to_parquet(tmp_path / "fear.parquet")
    assert read_series(tmp_path / "fear.parquet", "known", ("fear",)).values.tolist() == slow.values.tolist()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("known,x\n2024-01-01,1\n", {"time": "knwon"}, "has no column 'knwon'; did you mean 'known'"),
        ("known,x\n2024-01-01,a\n", {"time": "known"}, "x should be numbers"),
        ("known,x\nsoon,1\n", {"time": "known"}, "known has something that is no time"),
        ("known,x\n2024-01-01,1\n,2\n", {"time": "known"}, "known is empty in row 1"),
    ],
)
def test_macro_files_that_are_none_are_refused(tmp_path, text, options, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_series(tmp_path / "m.csv", **options)
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_series(tmp_path / "none.csv", "known")


def test_an_allow_list_is_read_line_by_line(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("# chosen\nrsi(14)\n\nlog_return  # 0.3\n")
    assert read_allow_list(path) == ("rsi(14)", "log_return")
    plan = make_data_plan(settings(tmp_path, f"tft.allow_list={path}").tft)
    assert plan.allow == ("rsi(14)", "log_return")
    path.write_text("\n")
    with pytest.raises(SettingsError, match="names no feature"):
        read_allow_list(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_allow_list(tmp_path / "none.txt")


def test_targets_are_names_or_tables(tmp_path):
    given = settings(tmp_path, 'tft.targets=["logreturn", {kind="binarytrend", horizon=2, options={dead_band=0.001}}]')
    plan = make_data_plan(given.tft)
    assert [(one.name, one.horizon) for one in plan.targets] == [("logreturn", 4), ("binarytrend", 2)]
    assert plan.targets[1].options == {"dead_band": 0.001}
    assert plan.horizon == 4


def test_a_symbol_that_is_too_short_is_skipped_or_refused(tmp_path):
    with pytest.raises(DataError, match="no window can be cut from"):
        run_training("tft", settings(tmp_path, "data.bars=60"))


def test_select_writes_a_list_that_training_reads(tmp_path):
    given = settings(tmp_path, "select.keep=4", "select.tree_rounds=10", "select.folds=2", "select.repeats=1")
    out = tmp_path / "kept.txt"
    said: list[str] = []
    found = run_selection(given, out, told=said.append)

    assert 1 <= len(found.chosen) <= 4
    report = json.loads((tmp_path / "kept.txt.json").read_text())
    assert report["chosen"] == list(found.chosen)
    assert set(report["evidence"][0]["features"]) == set(given.tft.features)
    assert said[0].startswith("group")
    assert "judging" in said
    done = run_training("tft", settings(tmp_path, f"tft.allow_list={out}", "train.epochs=1"))
    assert set(load_artefact(done.artefact).card.inputs) == set(found.chosen)


def test_a_network_with_joined_columns_is_trained_and_trades(tmp_path):
    small = ["log.tensorboard=false", "train.epochs=1", "tft.plots_every=0", f"train.folder={tmp_path}"]
    training = load_training(EXAMPLE.with_name("joined.toml"), small)
    done = run_training("tft", training)
    wanted = [f"models.tft.artefact={done.artefact}", f"forecasts.store={tmp_path}/f.db",
              f"journal.url={tmp_path}/j.db"]
    chosen = load_settings(EXAMPLE.with_name("joined_backtest.toml"), wanted)
    forecaster = make_forecasters(chosen, "1h")["tft"]
    assert [(one.timeframe, one.symbol) for one in forecaster.spec.joined] == [
        ("4h", ""), ("1d", ""), ("1h", "AAA/USDT")]

    told = run_backtest(chosen).report.forecasts["models"]["tft"]
    assert told["computed"] > 600
    assert told["flagged"] == {}
    again = run_backtest(chosen).report.forecasts["models"]["tft"]
    assert (again["computed"], again["stored"]) == (0, told["computed"])

    assert evaluate(done.artefact, chosen).unusable == 0, "judged is what the engine would be asked"

    # What the network is fed in the engine is what it was trained on, column by column.
    bars = bars_of(feed_of(training.data, training.train.seed))
    table = make_table(training.tft, bars)
    histories = known_histories(MemoryFeed(bars), bars.streams)
    stream = Stream("BBB/USDT", "1h")
    cutter = WindowCutter(forecaster.spec, [histories[stream]], 0, histories)
    first = next(group.rows.start for group in table.groups if group.symbol == stream.symbol)
    rows = [row for row in range(1200, 1300, 7) if first + row in set(table.ends.tolist())]
    requests = [Request(0, row, int(table.close_time[first + row])) for row in rows]
    assert len(rows) > 10
    assert all(cutter.is_ready(one) for one in requests)
    fed = forecaster.columns(cutter.windows(requests, [0] * len(rows)))
    expected = np.stack([table.values[first + row + 1 - 24 : first + row + 1] for row in rows])
    assert tuple(table.names) == tuple(load_artefact(done.artefact).card.inputs)
    np.testing.assert_allclose(fed, expected, rtol=1e-9, atol=1e-9)

    # Before enough of the longest bars has closed, a forecast that is asked for is refused; a run has none yet.
    early = load_settings(EXAMPLE.with_name("joined_backtest.toml"), [*wanted, "data.skip=0"])
    words = (
        r"at 2024-01-05T00:00Z it lacks .*4 bars of AAA/USDT of 1d, of which 1 had closed by 2024-01-02T\d\d:00Z, when "
        r"its window begins; ask for (\S+) or later, or begin the data earlier"
    )
    with pytest.raises(SettingsError, match=words) as refused:
        ask(early, model="tft", symbol="AAA/USDT", at="2024-01-05")
    first = re.search(words, str(refused.value))[1]
    assert "nan" not in ask(early, model="tft", symbol="AAA/USDT", at=first).forecast.flags
    before = iso(nanoseconds(datetime.fromisoformat(first)) - HOUR)
    with pytest.raises(SettingsError, match="it lacks 4 bars of AAA/USDT of 1d"):
        ask(early, model="tft", symbol="AAA/USDT", at=before)

    lacking = load_settings(EXAMPLE.with_name("joined_backtest.toml"), [*wanted, 'data.resample=["4h"]'])
    words = r"model tft joins bars of AAA/USDT of 1d .* the feed has none; add it with data\.resample = \[\"1d\"\]"
    with pytest.raises(PluginError, match=words):
        run_backtest(lacking)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda joins: None, r"model m: .*'4h_rsi\(6\)' is not made of bars.*does not say how it is joined, as other "),
        (lambda joins: {**joins, "before": 3}, r"model m: the artefact says in conventions.joins .* another version"),
        (lambda joins: {name: of for name, of in joins.items() if name != "series"}, "expected across_gaps, beta, "),
        (lambda joins: [1], "another version wrote it"),
    ],
)
def test_an_artefact_that_another_version_joined_is_refused_with_the_way_out(change, message, joined, tmp_path):
    artefact = load_artefact(joined)
    conventions = {**artefact.card.conventions, "joins": change(artefact.card.conventions["joins"])}
    card = replace(artefact.card, conventions=conventions)
    save_artefact(tmp_path / "old", card, artefact.weights, scalers=artefact.tensors["scalers"])
    with pytest.raises(PluginError, match=rf"{message}.*train it again with this one: `train tft`"):
        load_forecaster("m", tmp_path / "old", device="cpu")


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    small = ["log.tensorboard=false", "train.epochs=1", "tft.plots_every=0", "data.bars=700", "tft.hidden_size=4"]
    folder = f"train.folder={tmp_path_factory.mktemp('joined')}"
    return run_training("tft", load_training(EXAMPLE.with_name("joined.toml"), [*small, folder])).artefact


def test_a_network_with_a_series_of_numbers_trades_where_the_settings_name_it(tmp_path):
    frame = pd.DataFrame({"known": pd.date_range("2023-12-01", periods=400), "fear": np.sin(np.arange(400.0))})
    frame.to_csv(tmp_path / "fear.csv", index=False)
    series = f'tft.macro=[{{path="{tmp_path}/fear.csv", time="known"}}]'
    small = ["log.tensorboard=false", "train.epochs=1", "tft.plots_every=0", f"train.folder={tmp_path}", "tft.beta=0",
             "tft.joined={}", "tft.reference_features=[]", 'tft.reference=""', "data.bars=600", series]
    done = run_training("tft", load_training(EXAMPLE.with_name("joined.toml"), small))
    wanted = [f"models.tft.artefact={done.artefact}", f"forecasts.store={tmp_path}/f.db", "data.bars=900",
              "data.skip=600", "journal.enabled=false"]
    file = EXAMPLE.with_name("joined_backtest.toml")
    with pytest.raises(PluginError, match=r"model tft joins the series fear; this run has none: name its file"):
        run_backtest(load_settings(file, wanted))
    named = [*wanted, f'series=[{{path="{tmp_path}/fear.csv", time="known"}}]']
    told = run_backtest(load_settings(file, named)).report.forecasts["models"]["tft"]
    assert told["computed"] > 100
    assert told["flagged"] == {}
    frame[40:].to_csv(tmp_path / "late.csv", index=False)  # from 10 January on
    late = [*wanted, "data.skip=0", f'series=[{{path="{tmp_path}/late.csv", time="known"}}]']
    with pytest.raises(SettingsError, match=r"lacks the series fear, of which nothing was known by .* 2024-01-1"):
        ask(load_settings(file, late), model="tft", symbol=None, at="2024-01-09")
    later = run_training("tft", load_training(EXAMPLE.with_name("joined.toml"), [*small, 'tft.lag="1m"']))
    with pytest.raises(PluginError, match=r"joins the series fear as known 60 s after each bar's close"):
        load_forecaster("m", later.artefact, timeframe="1h", device="cpu")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A folder with files of bars and the settings that the guide has."""
    folder = tmp_path_factory.mktemp("newcomer")
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for name, block in zip(("own", "own_backtest", "own_tft", "own_tft_backtest"), blocks, strict=False):
        assert f"`{name}.toml`" in text
        (folder / f"{name}.toml").write_text(block)
    (folder / "bars").mkdir()
    for place, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        bars = walk(2400, place)
        frame = pd.DataFrame(bars, columns=["open", "high", "low", "close", "volume"])
        frame.insert(0, "timestamp", pd.date_range("2024-01-01", periods=len(bars), freq="h").astype(str))
        frame.to_csv(folder / "bars" / f"{symbol}_1h.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "model", "small"),
    [("krnn", "own", "own", "krnn.rnn_dim=4"), ("tft", "own_tft", "mine", "tft.hidden_size=4")],
)
def test_the_newcomer_s_way_in_the_guide_is_one_that_works(newcomer, kind, name, model, small):
    changes = ["train.epochs=1", f"train.folder={newcomer}/runs", "log.tensorboard=false", small]
    done = run_training(kind, load_training(newcomer / f"{name}.toml", changes))
    assert done.folder.name.startswith(f"{name}-")
    chosen = load_settings(newcomer / f"{name}_backtest.toml", [
        f"models.{model}.artefact={done.artefact}", f"forecasts.store={newcomer}/f.db", f"journal.url={newcomer}/j.db",
        "data.start=2024-03-20",
    ])
    made = run_backtest(chosen)
    assert made.report.forecasts["models"][model]["computed"] > 10
    if kind == "tft":
        parameters = chosen.strategy.parameters
        outputs = make_forecasters(chosen, "1h")["mine"].spec.outputs
        assert {parameters[name] for name in ("trend", "expected", "drawdown")} <= set(outputs)


def test_evaluate_judges_every_target(tmp_path):
    done = run_training("tft", settings(tmp_path, "train.epochs=1"))
    tables = {
        "data": load_training(EXAMPLE, SMALL).data.model_dump(),
        "models": {"m": {"artefact": str(done.artefact)}},
        "strategy": {"name": "RankRotation", "parameters": {"model": "m", "every": "bar", "n_hold": 1, "n_drop": 1}},
        "journal": {"enabled": False}, "forecasts": {"store": str(tmp_path / "f.db")},
    }
    made = evaluate(done.artefact, settings_from(tables, folder=tmp_path, origin="t"))

    assert set(made.targets) == {"logreturn", "drawdown_prob", "realized_vol"}
    assert list(made.targets["drawdown_prob"]) == ["m", "as before", "last bars", "LightGBM"]
    assert made.targets["realized_vol"]["m"].keys() >= {"rmse", "mae", "r2", "ic", "rank_ic"}
    assert made.targets["logreturn"]["as before"]["r2"] < 0.05
    assert "<h3>drawdown_prob</h3>" in page(made, b"")
