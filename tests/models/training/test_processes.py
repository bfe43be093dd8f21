"""The networks themselves: several processes, and slices of a batch, take the steps that one process takes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.training.recipe import Draws

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("real.py")
KINDS = ("tokenizer", "predictor", "krnn")


def _run(folder, accumulate=1):
    spec = importlib.util.spec_from_file_location("barcast_real_recipes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.run(folder, accumulate)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "one"
    _run(folder)
    return folder


def _hold(folder, one, kind):
    found, expected = (load_file(path / f"{kind}.safetensors") for path in (folder, one))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-5, msg=lambda text, at=name: f"{at}: {text}")


def test_two_processes_train_the_networks_as_one_does(one, tmp_path):
    """Among them what is no mean over rows (the entropy of the tokenizer's codebook), and what is drawn (s1)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*command, str(SCRIPT), str(tmp_path / "two"), "1"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=300, check=False,
    )
    assert two.returncode == 0, two.stderr[-2000:]
    for kind in KINDS:
        _hold(tmp_path / "two", one, kind)


def test_slices_of_a_batch_train_the_networks_as_the_batch_does(one, tmp_path):
    _run(tmp_path / "sliced", 3)
    for kind in KINDS:
        _hold(tmp_path / "sliced", one, kind)


def test_a_row_has_its_draws_whatever_part_of_the_batch_is_at_hand():
    whole, part = Draws(5, 8, torch.arange(8)), Draws(5, 8, torch.tensor([6, 1]))

    for of in ("uniform", "normal"):
        assert torch.equal(getattr(whole, of)(3, 2)[[6, 1]], getattr(part, of)(3, 2))
    assert not torch.equal(whole.uniform(4), whole.uniform(4)), "each call draws anew"
    assert not torch.equal(Draws(5, 8, torch.arange(8)).uniform(4), Draws(6, 8, torch.arange(8)).uniform(4))
