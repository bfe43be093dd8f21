"""`main.py train` from settings to artefact: run folders, resume, warm start, refusals."""

import importlib.util
import json
import math
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import torch
from typer.testing import CliRunner

from config.settings import ROOT
from config.training import make_plan, run_training
from config.training_folder import donor_of, held, new_folder
from config.training_settings import load_training
from engine.errors import EngineError, PluginError, SettingsError
from main import app
from models.artefact import load_artefact
from models.training import krnn
from models.training.records import read_metrics

EXAMPLE = ROOT / "config" / "examples" / "training" / "krnn.toml"
SMALL = ("data.bars=300", "train.epochs=2", "krnn.cnn_dim=4", "krnn.rnn_dim=4", "log.tensorboard=false")


def settings(tmp_path, *changes):
    return load_training(EXAMPLE, [*SMALL, f"train.folder={tmp_path}", *changes])


def test_a_run_leaves_its_settings_metrics_checkpoints_and_artefact(tmp_path):
    done = run_training("krnn", settings(tmp_path, "log.tensorboard=true"))

    there = {path.name for path in done.folder.iterdir()}
    assert there == {"settings.json", "run.json", "metrics.jsonl", "checkpoints", "artefact", "tensorboard", "data.txt"}
    assert done.folder.name.startswith("krnn-")
    said = json.loads((done.folder / "settings.json").read_text())
    assert (said["kind"], said["train"]["epochs"], said["krnn"]["rnn_dim"]) == ("krnn", 2, 4)
    card = load_artefact(done.artefact).card
    assert card.trained_on == tuple(f"{letter * 3}/USDT" for letter in "ABCDEF")
    assert card.trained_from is not None
    assert card.trained_until is not None
    assert card.source == f"trained here: {done.folder.name}"
    assert done.is_finished


def test_a_run_goes_on_to_the_artefact_it_would_have_made(tmp_path):
    whole = run_training("krnn", settings(tmp_path / "a"))
    first = run_training("krnn", settings(tmp_path / "b", "train.stop_after=1"))
    second = run_training("krnn", settings(tmp_path / "b"), resume=first.folder.name)

    assert (first.is_finished, second.folder) == (False, first.folder)
    assert load_artefact(second.artefact).card.label == load_artefact(whole.artefact).card.label
    ours, theirs = load_artefact(second.artefact).weights, load_artefact(whole.artefact).weights
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_a_run_does_not_go_on_with_other_settings_or_data(tmp_path):
    first = run_training("krnn", settings(tmp_path, "train.stop_after=1"))

    with pytest.raises(SettingsError, match=r"it began with train.seed = 0, now it is 3; set it back"):
        run_training("krnn", settings(tmp_path, "train.seed=3"), resume=str(first.folder))
    with pytest.raises(SettingsError, match=r"--resume none: there is no such run"):
        run_training("krnn", settings(tmp_path), resume="none")


def test_a_run_goes_on_for_other_epochs_only_where_that_bends_no_schedule(tmp_path):
    cycle = settings(tmp_path, "train.schedule.kind=one_cycle", "train.stop_after=1")
    bent = run_training("krnn", cycle)
    message = (
        r"it began with train.epochs = 2, now it is 4; the one_cycle schedule of the learning rate is laid out for all "
        r"epochs, and would jump: set it back \(train.stop_after ends a sitting earlier\), or begin anew"
    )
    longer = settings(tmp_path, "train.schedule.kind=one_cycle", "train.epochs=4")
    with pytest.raises(SettingsError, match=message):
        run_training("krnn", longer, resume=str(bent.folder))

    assert run_training("krnn", settings(tmp_path, "train.epochs=3"), resume=str(
        run_training("krnn", settings(tmp_path)).folder)).epochs == 3, "a constant rate is that of any number"
    long = ("train.schedule.kind=one_cycle", "train.schedule_epochs=3")
    first = run_training("krnn", settings(tmp_path, *long))
    second = run_training("krnn", settings(tmp_path, *long, "train.epochs=3"), resume=str(first.folder))
    rates = [json.loads(line)["rate"] for line in (second.folder / "metrics.jsonl").read_text().splitlines()]
    assert (second.epochs, len(rates)) == (3, 3)
    assert rates[0] > rates[1] > rates[2]


def test_the_temperature_of_a_head_is_laid_out_for_all_epochs_too(made, tmp_path):
    more = ("train.schedule.kind=constant", "position.allow_unskilled=true", f"position.price={made['price'].artefact}")
    first = run_training("position", made_of("position", tmp_path, *more))
    with pytest.raises(SettingsError, match="now it is 2; the head's temperature is laid out for all epochs"):
        run_training("position", made_of("position", tmp_path, *more, "train.epochs=2"), resume=str(first.folder))


def test_a_warm_start_takes_what_fits_or_refuses(tmp_path):
    first = run_training("krnn", settings(tmp_path))
    again = run_training("krnn", settings(tmp_path, "train.seed=1"), warm=first.artefact)

    assert again.warm_start.startswith("warm start: 100% of the network")
    with pytest.raises(PluginError, match=r"--warm-start .*: warm start: \d+% of the network"):
        run_training("krnn", settings(tmp_path, "krnn.rnn_dim=12"), warm=first.artefact)


@pytest.mark.parametrize(("changes", "highest"), [((), 1e-4), (("warm_start.rate=1.0",), 1e-3)])
def test_a_warm_start_learns_at_a_lower_rate_and_does_not_warm_up(tmp_path, changes, highest):
    one_cycle = ("train.schedule.kind='one_cycle'", *changes)
    first = run_training("krnn", settings(tmp_path, *one_cycle))
    warm = run_training("krnn", settings(tmp_path, *one_cycle, "train.stop_after=1"), warm=first.artefact)
    gone_on = run_training("krnn", settings(tmp_path, *one_cycle), resume=str(warm.folder))

    said = json.loads((warm.folder / "settings.json").read_text())["warm_start"]["rate"]
    assert said == pytest.approx(highest / 1e-3)
    first_rate, last_rate = (line["rate"] for line in read_metrics(gone_on.folder / "metrics.jsonl"))
    assert highest / 5 < first_rate < highest
    assert last_rate < highest / 20
    made = make_plan(settings(tmp_path, *one_cycle), krnn.DEFAULTS, is_warm=True)
    assert (made.schedule.warm_up, made.schedule.factor(0, 100)) == (0, pytest.approx(1, abs=1e-3))
    asked = make_plan(settings(tmp_path, "train.schedule.warm_up=0.2"), krnn.DEFAULTS, is_warm=True)
    assert asked.schedule.warm_up == 0.2


def test_what_began_with_another_artefact_has_seen_what_that_has(tmp_path):
    late = run_training("krnn", settings(tmp_path, "split.valid=0.8", "split.end=0.95"))
    early = ("split.valid=0.5", "split.end=0.65", 'data.symbols=["AAA/USDT", "BBB/USDT", "ZZZ/USDT"]')
    alone = run_training("krnn", settings(tmp_path, *early))
    warm = run_training("krnn", settings(tmp_path, *early, "train.stop_after=1"), warm=late.artefact)
    shutil.rmtree(late.folder)
    gone_on = run_training("krnn", settings(tmp_path, *early), resume=str(warm.folder))

    until = load_artefact(warm.artefact).card.trained_until
    assert load_artefact(alone.artefact).card.trained_until < until
    for made in (warm, gone_on):
        card = load_artefact(made.artefact).card
        assert card.trained_until == until
        assert set(card.trained_on) == {f"{letter * 3}/USDT" for letter in "ABCDEFZ"}
    said = json.loads((gone_on.folder / "run.json").read_text())["warm_start"]
    assert (said["artefact"], said["facts"]["trained_until"]) == (str(late.artefact), until)


def test_a_run_of_an_older_version_does_not_say_what_it_began_with_had_seen(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"warm_start": "somewhere"}))
    assert donor_of(tmp_path).facts.trained_until is None
    (tmp_path / "run.json").write_text(json.dumps({"warm_start": None}))
    assert donor_of(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.name=a/b", r"train.name is 'a/b'; expected a name that a folder can have, without / or \\"),
        ("train.name=../../x", r"expected a name that a folder can have"),
        ("train.optimiser.betas=[1,1]", r"train.optimiser.betas.0 is 1; expected less than 1"),
        ("train.optimiser.betas=[-1,0.5]", r"expected greater than or equal to 0"),
        ("train.optimiser.weight_decay=1e300", r"train.optimiser.weight_decay is 1e\+300; expected less than"),
        ("train.optimiser.rate=1e300", r"train.optimiser.rate is 1e\+300; expected less than"),
        ("train.threads=100000", r"train.threads is 100000; expected less than or equal to 1024"),
        ("tft.lookback=1", r"tft.lookback is 1; expected greater than or equal to 2"),
        ("kronos_tokenizer.gamma=nan", r"kronos_tokenizer.gamma is nan; expected a finite number"),
        ("kronos_tokenizer.s1_bits=40", r"kronos_tokenizer.s1_bits is 40; expected less than or equal to 20"),
        ("train.clip_norm=inf", r"train.clip_norm is inf; expected a finite number"),
    ],
)
def test_values_that_cannot_be_are_refused_as_settings(change, message):
    with pytest.raises(SettingsError, match=message):
        load_training(EXAMPLE, [change])


def test_a_network_that_fits_no_memory_is_refused_with_what_to_lower(tmp_path):
    with pytest.raises(PluginError, match=r"krnn does not fit into memory: .*; lower train.batch, raise train.acc"):
        run_training("krnn", settings(tmp_path, "krnn.rnn_dim=1000000"))


def test_a_result_that_cannot_be_written_is_told_before_training(tmp_path):
    changes = [part for change in (*SMALL, f"train.folder={tmp_path}") for part in ("--set", change)]
    done = CliRunner().invoke(app, ["train", "krnn", str(EXAMPLE), *changes, "--json", "/proc/nowhere/out.json"])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "/proc/nowhere/out.json: cannot be written" in done.output


def test_a_market_that_does_not_move_has_no_skill_and_no_error(tmp_path):
    times = [f"2024-01-{1 + hour // 24:02}T{hour % 24:02}:00:00Z" for hour in range(300)]
    rows = "".join(f"{time},100,100,100,100,5\n" for time in times)
    for name in ("ONE", "TWO"):
        (tmp_path / f"{name}-USD_1h.csv").write_text(f"time,open,high,low,close,volume\n{rows}")
    (tmp_path / "still.toml").write_text(
        f'[data]\nsource = "files"\npaths = ["*.csv"]\n[train]\nepochs = 1\nfolder = "{tmp_path}/runs"\n'
        "[log]\ntensorboard = false\n"
    )
    done = run_training("price", load_training(tmp_path / "still.toml"))
    assert (done.metrics["skill_walk"], done.metrics["skill_ar"]) == (0.0, 0.0)
    changes = [f"position.price={done.artefact}", "position.allow_unskilled=true"]
    after = run_training("position", load_training(tmp_path / "still.toml", changes))
    assert all(math.isfinite(value) for value in after.metrics.values())


def test_a_day_is_a_time_wherever_a_split_takes_one():
    given = load_training(EXAMPLE, ["split.start=2024-01-02", "split.valid=2024-01-09"]).split
    assert given.start == datetime(2024, 1, 2, tzinfo=UTC)
    assert given.valid == datetime(2024, 1, 9, tzinfo=UTC)


def test_a_split_that_the_data_do_not_have_is_refused_with_the_settings_to_change(tmp_path):
    message = r"\[split\] judges from 2030-01-01T00:00Z to 2024-.*, which is empty; .* split.valid before split.end"
    with pytest.raises(SettingsError, match=message):
        run_training("krnn", settings(tmp_path, "split.valid=2030-01-01"))
    with pytest.raises(SettingsError, match=r"\[split\] trains from 2030-01-01T00:00Z to 2024-.* split.start before"):
        run_training("krnn", settings(tmp_path, "split.start=2030-01-01"))


@pytest.mark.parametrize("kind", ["krnn", "price", "kronos-tokenizer", "tft"])
def test_every_network_trains_in_bfloat16(made, kind, tmp_path):
    changes = {"krnn": ("krnn.cnn_dim=4", "krnn.rnn_dim=4"), "tft": ("tft.lookback=8", "tft.hidden_size=4")}
    done = run_training(kind, made_of(kind, tmp_path, "train.precision=bf16", *changes.get(kind, ())))
    assert all(weights.dtype.is_floating_point is False or weights.dtype == torch.float32
               for weights in load_artefact(done.artefact).weights.values())
    key = {"price": "position.price", "kronos-tokenizer": "kronos.tokenizer"}.get(kind)
    if key is not None:
        after = "position" if kind == "price" else "kronos"
        unskilled = ["position.allow_unskilled=true"] if kind == "price" else []
        run_training(after, made_of(after, tmp_path, "train.precision=bf16", f"{key}={done.artefact}", *unskilled))


def test_unknown_settings_are_refused_with_the_nearest_that_is(tmp_path):
    with pytest.raises(SettingsError, match=r"unknown setting 'epoch' in \[train\]; did you mean 'epochs'"):
        load_training(EXAMPLE, ["train.epoch=3"])
    with pytest.raises(SettingsError, match=r"split.valid .*expected a share of the data's time above 0 and up to 1"):
        load_training(EXAMPLE, ["split.valid=1.5"])


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [("kronos-tokenizer", "kronos", "kronos.tokenizer"), ("price", "position", "position.price")],
)
def test_two_stages_follow_each_other(tmp_path, first, second, key):
    small = ("data.bars=300", "train.epochs=1", "log.tensorboard=false", f"train.folder={tmp_path}")
    folder = EXAMPLE.parent
    one = run_training(first, load_training(folder / f"{first.replace('-', '_')}.toml", small))
    two = run_training(second, load_training(folder / f"{second}.toml", [*small, f"{key}={one.artefact}"]))

    cards = [load_artefact(done.artefact).card for done in (one, two)]
    assert [card.trained_on for card in cards] == [("AAA/USDT", "BBB/USDT")] * 2
    assert cards[0].trained_until == cards[1].trained_until
    with pytest.raises(SettingsError, match=f"{key} is missing"):
        run_training(second, load_training(folder / f"{second}.toml", small))


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "cpu:1", "gpu"])
def test_a_device_that_is_not_here_is_refused_before_the_data_are_read(device, tmp_path):
    with pytest.raises(SettingsError, match=f"device is '{device}'"):
        run_training("krnn", settings(tmp_path, f"train.device={device}"))
    assert not list(tmp_path.iterdir())


ONE_EPOCH = ("data.bars=300", "train.epochs=1", "log.tensorboard=false")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of each kind."""
    folder = tmp_path_factory.mktemp("made")
    changes = {
        "krnn": ("krnn.cnn_dim=4", "krnn.rnn_dim=4"), "price": (), "kronos-tokenizer": (), "tft": ("tft.lookback=8",),
    }
    return {kind: run_training(kind, made_of(kind, folder, *changes[kind])) for kind in changes}


def made_of(kind, folder, *changes):
    file = EXAMPLE.with_name(f"{kind.replace('-', '_')}.toml")
    return load_training(file, [*ONE_EPOCH, f"train.folder={folder}", *changes])


@pytest.mark.parametrize(
    ("kind", "other", "key", "message"),
    [
        ("position", "krnn", "position.price", "{it} is a krnn; expected a price_transformer: `train price` makes one"),
        ("position", "tft", "position.price", "{it} is a tft; expected a price_transformer: `train price` makes one"),
        ("kronos", "krnn", "kronos.tokenizer",
         "{it} is a krnn; expected a kronos_tokenizer or a kronos: `train kronos-tokenizer` makes one"),
        ("kronos-tokenizer", "price", "kronos_tokenizer.pretrained",
         "{it} is a price_transformer; expected a kronos_tokenizer or a kronos: `train kronos-tokenizer` makes one"),
    ],
)
def test_an_artefact_of_another_network_is_refused_with_the_setting_that_names_it(
    made, kind, other, key, message, tmp_path
):
    it = made[other].artefact
    with pytest.raises(EngineError, match=re.escape(f"{key} {message.format(it=it)}")):
        run_training(kind, made_of(kind, tmp_path, f"{key}={it}"))


@pytest.mark.parametrize(("kind", "key"), [("kronos", "kronos.tokenizer"), ("position", "position.price")])
def test_a_run_where_its_artefact_is_meant_is_refused_with_the_artefact(made, kind, key, tmp_path):
    run = made["price"].folder
    with pytest.raises(EngineError, match=re.escape(f"its artefact is {run}/artefact")):
        run_training(kind, made_of(kind, tmp_path, f"{key}={run}"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match=rf"{tmp_path}/empty is (not an artefact|neither an artefact)"):
        run_training(kind, made_of(kind, tmp_path, f"{key}={tmp_path}/empty"))


def test_a_predictor_to_begin_with_is_one_of_kronos(made, tmp_path):
    changes = [f"kronos.tokenizer={made['kronos-tokenizer'].artefact}", f"kronos.pretrained={made['krnn'].artefact}"]
    with pytest.raises(PluginError, match=r"kronos.pretrained .* is a krnn; expected a kronos: `train kronos` makes"):
        run_training("kronos", made_of("kronos", tmp_path, *changes))


@pytest.mark.parametrize(("kind", "other"), [("krnn", "price"), ("price", "krnn"), ("tft", "kronos-tokenizer")])
def test_a_warm_start_or_a_run_of_another_network_is_refused_at_once(made, kind, other, tmp_path):
    given = made_of(kind, tmp_path)
    was = {"krnn": "krnn", "price": "price_transformer", "kronos-tokenizer": "kronos_tokenizer"}[other]
    with pytest.raises(SettingsError, match=rf"--warm-start .*: it is a {was}; expected a {kind}"):
        run_training(kind, given, warm=made[other].artefact)
    with pytest.raises(SettingsError, match=rf"--resume .*: it trains {other}, not {kind}; go on with `train {other} "):
        run_training(kind, given, resume=str(made[other].folder))
    assert not list(tmp_path.glob(f"{kind}-*")), "nothing was begun"


class Interrupted:
    """Presses Ctrl-C at a step."""

    def __init__(self, step):
        self.step = step

    def began(self, state, in_epoch, epochs):
        pass

    def stepped(self, state, loss, rate, rows, parts):
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def judged(self, state, loss, rate, seconds):
        pass

    def ended(self, state, error):
        pass


def test_a_training_that_is_stopped_says_how_it_goes_on(tmp_path):
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_training("krnn", settings(tmp_path), watchers=[Interrupted(2)], say=said.append)
    (folder,) = tmp_path.glob("krnn-*")
    assert said[1:] == [f"stopped after epoch 1: --resume {folder} goes on"]
    assert run_training("krnn", settings(tmp_path), resume=str(folder)).epochs == 2


def test_a_run_that_another_process_trains_is_not_gone_on_with(tmp_path):
    first = run_training("krnn", settings(tmp_path, "train.stop_after=1"))
    message = r"another process is training in .*krnn-.*; wait for it"
    with held(first.folder), pytest.raises(SettingsError, match=message):
        run_training("krnn", settings(tmp_path), resume=str(first.folder))


def test_runs_of_one_name_and_moment_have_folders_of_their_own(tmp_path):
    given = settings(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda number: new_folder(given, "krnn", "print"), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)


def test_a_logger_that_is_not_installed_is_named_before_training(tmp_path):
    if importlib.util.find_spec("mlflow") is not None:
        pytest.skip("mlflow is installed")
    with pytest.raises(SettingsError, match="mlflow is not installed; install it with pip, or leave log.mlflow out"):
        run_training("krnn", settings(tmp_path, "log.mlflow=here"))


def test_the_command_trains_and_says_what_came_of_it(tmp_path):
    changes = [part for change in (*SMALL, f"train.folder={tmp_path}") for part in ("--set", change)]
    done = CliRunner().invoke(app, ["train", "krnn", str(EXAMPLE), *changes, "--json", str(tmp_path / "out.json")])

    assert done.exit_code == 0, done.output
    assert re.search(r"2 epochs, \d+ steps; the best by rank_ic was epoch [12]", done.output)
    said = json.loads((tmp_path / "out.json").read_text())
    assert (said["epochs"], said["metric"], said["is_finished"]) == (2, "rank_ic", True)
    both = ["train", "krnn", str(EXAMPLE), "--resume", "x", "--warm-start", "y"]
    refused = CliRunner().invoke(app, both)
    assert refused.exit_code == 2
    assert "both --resume and --warm-start are given" in refused.output
