"""The loop: exact resume, several processes, early stopping, checkpoints."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.errors import PluginError
from models.training.checkpoints import Checkpoints, read_state
from models.training.loop import train
from models.training.recipe import Goal, Loss, grouped
from models.training.records import MetricsFile, read_metrics

ROOT = Path(__file__).resolve().parents[3]


def lines_of(folder):
    """The metrics file, without the seconds."""
    return [{key: line[key] for key in line if key != "seconds"} for line in read_metrics(folder / "metrics.jsonl")]


def trained(small, folder, changes=None, dropout=0.2, **options):
    folder.mkdir(exist_ok=True)
    plan = replace(small.PLAN, **(changes or {}))
    return train(small.Small(dropout), plan, folder, watchers=[MetricsFile(folder)], **options)


def in_processes(folder, count, *, changes=None, dropout=0.0, kill_at=0):
    script = str(ROOT / "tests/models/training/small.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = command if count > 1 else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, script, str(folder), json.dumps(changes or {}), str(dropout), str(kill_at)],
        cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_and_two_epochs_are_four_to_the_last_bit(small, tmp_path):
    whole = trained(small, tmp_path / "whole")
    first = trained(small, tmp_path / "parts", stop_after=2)
    second = trained(small, tmp_path / "parts", stop_after=2)

    assert (first.state.epoch, second.state.epoch) == (2, 4)
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "parts")
    assert len(lines_of(tmp_path / "parts")) == 4
    last = [Checkpoints(tmp_path / name / "checkpoints", "error", is_higher_better=False).last()
            for name in ("whole", "parts")]
    for file in ("network.safetensors", "optimiser.safetensors"):
        assert same(*(load_file(path / file) for path in last))
    assert same(whole.network.state_dict(), second.network.state_dict())


def test_a_process_that_was_killed_goes_on_to_the_same_end(small, tmp_path):
    whole = trained(small, tmp_path / "whole", {"checkpoint_steps": 3})
    killed = in_processes(tmp_path / "killed", 1, changes={"checkpoint_steps": 3}, dropout=0.2, kill_at=12)
    assert killed.returncode == -9
    there = Checkpoints(tmp_path / "killed" / "checkpoints", "error", is_higher_better=False).last()
    assert read_state(there).step == 9, "step 12 was taken, its checkpoint not written"
    (tmp_path / "killed" / "checkpoints" / ".part-epoch-0002_step-00000014").mkdir()
    after = trained(small, tmp_path / "killed", {"checkpoint_steps": 3})

    assert same(whole.network.state_dict(), after.network.state_dict())
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "killed")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".part-*"))


def test_two_processes_take_the_steps_of_one(small, tmp_path):
    """The last batch has 4 rows, and slices of two processes twice are uneven."""
    one = trained(small, tmp_path / "one", dropout=0.0)
    two = in_processes(tmp_path / "two", 2, changes={"accumulate": 3})

    assert two.returncode == 0, two.stderr[-2000:]
    found = load_file(tmp_path / "two" / "end.safetensors")
    for name, expected in one.network.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(lines_of(tmp_path / "one"), lines_of(tmp_path / "two"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
        assert theirs["valid"]["error"] == pytest.approx(ours["valid"]["error"], rel=1e-5)


def test_slices_of_a_batch_come_to_the_batch(small, tmp_path):
    whole, sliced = trained(small, tmp_path / "a", dropout=0.0), trained(small, tmp_path / "b", {"accumulate": 5}, 0.0)

    for name, expected in whole.network.state_dict().items():
        torch.testing.assert_close(sliced.network.state_dict()[name], expected, rtol=1e-4, atol=1e-5)


def test_training_ends_when_the_score_gets_no_better(small, tmp_path):
    class Worse(small.Small):
        def validate(self, network, moment):
            return {"error": float(moment.epoch)}

    done = train(Worse(), replace(small.PLAN, epochs=50, patience=3, keep=1), tmp_path)

    assert done.state.epoch == 4
    assert done.best.epoch == 1
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["epoch-0001_step-00000007_error=0", "epoch-0004_step-00000028_error=3"]


def test_a_score_that_is_no_number_is_never_the_best(small, tmp_path):
    class Lost(small.Small):
        def validate(self, network, moment):
            return {"error": float("nan") if moment.epoch else 2.0}

    assert train(Lost(), replace(small.PLAN, keep=3), tmp_path).best.epoch == 1


def test_a_run_without_an_epoch_to_choose_ends_and_keeps_what_it_has(small, tmp_path):
    class Never(small.Small):
        goal = Goal("score", made_of=("one", "other"))

        def validate(self, network, moment):
            return {"one": 1.0, "other": float("nan"), "score": float("nan")}

    message = (
        r"no epoch could be chosen: score was no number in any of 2, for other was none; judge on more .*; no artefact "
        r"was written, the last checkpoint is .*epoch-0002_step-00000014_score=nan"
    )
    with pytest.raises(PluginError, match=message):
        train(Never(), replace(small.PLAN, epochs=2), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-0002_step-00000014_score=nan"]
    assert train(small.Small(), replace(small.PLAN, epochs=3), tmp_path).best.epoch == 3, "what was kept goes on"


def test_a_loss_that_is_no_number_stops_training_and_says_where(small, tmp_path):
    class Broken(small.Small):
        def loss(self, network, rows, moment):
            return Loss(super().loss(network, rows, moment).value * (float("nan") if moment.step == 9 else 1))

    with pytest.raises(PluginError, match=r"the loss is nan at step 9 of epoch 2; look for extreme numbers"):
        train(Broken(), small.PLAN, tmp_path)


def test_batches_of_groups_are_whole_and_always_as_many():
    groups = torch.arange(40).div(4, rounding_mode="floor")
    epochs = [grouped(groups, 12, torch.Generator().manual_seed(seed)) for seed in range(3)]

    assert [len(batches) for batches in epochs] == [4, 4, 4]
    for batches in epochs:
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(40))
        assert all(len(batch) % 4 == 0 and len(batch.div(4, rounding_mode="floor").unique()) * 4 == len(batch)
                   for batch in batches)
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_a_checkpoint_of_another_network_is_refused(small, tmp_path):
    trained(small, tmp_path, {"epochs": 1})

    class Wider(small.Small):
        def network(self):
            return torch.nn.Linear(4, 1)

    with pytest.raises(PluginError, match="does not fit this network"):
        train(Wider(), small.PLAN, tmp_path)
