"""The position head as a policy: memories go out as JSON and come back, and held positions stay exact."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import PluginError
from models.artefact import load_artefact
from models.position.head import HeadSizes, PositionHead, Serving
from models.position.loading import load_position_head, load_price_transformer, save_position_head
from models.position.policy import HeadPolicy

INPUTS = ("a", "b", "c")
NAMES = ("A/USD", "B/USD", "C/USD")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        head = PositionHead(HeadSizes(3, 8))
        torch.nn.init.normal_(head.out[-1].weight, std=3.0)
    save_position_head(tmp_path / "head", head, INPUTS, Serving(hysteresis=0.0), trained_until=17)
    return tmp_path / "head"


def features(seed: int, symbols: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(symbols, 3)).astype(np.float32)


def test_its_spec_says_what_it_reads_and_may_wish_for(folder: Path) -> None:
    spec = HeadPolicy(load_artefact(folder), "head").spec

    assert (spec.name, spec.inputs, spec.low, spec.high, spec.trained_until) == ("head", INPUTS, 0.0, 1.0, 17)
    assert len(spec.model_hash) == 64


def test_one_by_one_through_json_it_is_what_the_network_unrolled_wishes_for(folder: Path) -> None:
    head, serving = load_position_head(load_artefact(folder))
    steps = [features(seed, 2) for seed in range(12)]
    whole = head.replay(torch.from_numpy(np.stack(steps, axis=1)), serving).numpy()  # [symbols, steps]
    policy = HeadPolicy(load_artefact(folder), "head")
    memories: list = [None, None]
    held, found = np.zeros(2), []

    for number, one in enumerate(steps):
        step = policy.step(one, memories, held, (number + 1) * HOUR, HOUR, NAMES[:2])
        memories = [json.loads(json.dumps(dict(memory), allow_nan=False)) for memory in step.memories]
        held = step.shares
        found.append(step.shares)

    np.testing.assert_allclose(np.stack(found, axis=1), whole, atol=1e-6)
    assert len(np.unique(whole.round(3))) > 2


def test_a_symbol_s_answer_does_not_depend_on_the_others_of_its_batch(folder: Path) -> None:
    policy, some = HeadPolicy(load_artefact(folder), "head"), features(1, 3)
    held = np.array([0.2, 0.0, 0.7])

    together = policy.step(some, [None] * 3, held, HOUR, HOUR, NAMES)
    alone = [
        policy.step(some[one : one + 1], [None], held[one : one + 1], HOUR, HOUR, NAMES[one : one + 1])
        for one in range(3)
    ]

    np.testing.assert_allclose(together.shares, [one.shares[0] for one in alone], atol=1e-6)


def test_what_is_left_alone_is_what_is_held_to_the_last_bit(folder: Path) -> None:
    """A share rounded to float32 on its way would look like a wish to trade a billionth."""
    head, _ = load_position_head(load_artefact(folder))
    save_position_head(folder, head, INPUTS, Serving(hysteresis=2.0))
    held = np.array([1 / 3, 0.123456789])

    step = HeadPolicy(load_artefact(folder), "head").step(features(2, 2), [None, None], held, HOUR, HOUR, NAMES[:2])

    assert step.shares.tolist() == held.tolist()


def test_a_memory_is_begun_anew_after_a_gap_and_that_is_told(folder: Path) -> None:
    policy = HeadPolicy(load_artefact(folder), "head", gap=3)
    first = policy.step(features(3, 1), [None], np.zeros(1), HOUR, HOUR, NAMES[:1])

    soon = policy.step(features(4, 1), list(first.memories), np.zeros(1), 5 * HOUR, HOUR, NAMES[:1])
    late = policy.step(features(4, 1), list(first.memories), np.zeros(1), 6 * HOUR, HOUR, NAMES[:1])

    assert (soon.restarted, late.restarted) == ((False,), (True,))


def test_features_of_another_shape_are_refused(folder: Path) -> None:
    policy = HeadPolicy(load_artefact(folder), "head")

    with pytest.raises(PluginError, match=r"position head head: features of shape \[1, 4\]; expected \[1, 3\]"):
        policy.step(np.zeros((1, 4), np.float32), [None], np.zeros(1), HOUR, HOUR, NAMES[:1])


def test_a_memory_of_another_head_is_refused(folder: Path, tmp_path: Path) -> None:
    policy = HeadPolicy(load_artefact(folder), "head")
    first = policy.step(features(3, 1), [None], np.zeros(1), HOUR, HOUR, NAMES[:1])
    memory = dict(first.memories[0], model_hash="other")

    with pytest.raises(PluginError, match="its state is of the position head other"):
        policy.step(features(3, 1), [memory], np.zeros(1), 2 * HOUR, HOUR, NAMES[:1])


def test_artefacts_that_do_not_fit_are_refused(folder: Path) -> None:
    with pytest.raises(PluginError, match="the artefact is of a position_head; expected a price_transformer"):
        load_price_transformer(load_artefact(folder))
    card = json.loads((folder / "artefact.json").read_text())
    card["configuration"]["sizes"]["satte"] = 3
    (folder / "artefact.json").write_text(json.dumps(card))
    with pytest.raises(PluginError, match="its configuration has an unknown 'satte'; did you mean 'state'"):
        load_position_head(load_artefact(folder))
    with pytest.raises(PluginError, match="position head: 2 names for 3 features; expected one each"):
        save_position_head(folder, PositionHead(HeadSizes(3, 8)), ("a", "b"), Serving())
