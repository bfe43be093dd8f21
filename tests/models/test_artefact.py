"""Artefacts: what is written is read back, and what was changed since is refused."""

import json

import pytest
import torch

from engine.errors import PluginError
from models.artefact import CARD, ArtefactCard, load_artefact, save_artefact


@pytest.fixture
def card() -> ArtefactCard:
    return ArtefactCard(
        "krnn",
        {"fea_dim": 6},
        inputs=("close", "open"),
        timeframe="1h",
        lookback=60,
        horizon=1,
        trained_from=1,
        trained_until=2,
        trained_on=("BTC/USDT",),
        conventions={"vwap": "(h+l+c)/3"},
    )


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(3, 4, generator=generator), "b": torch.arange(5), "c": torch.ones(2, dtype=torch.bfloat16)}


def test_what_is_written_is_read_back(tmp_path, card):
    written = save_artefact(tmp_path / "m", card, weights(), scalers={"median": torch.zeros(6)})

    read = load_artefact(tmp_path / "m")

    assert read.card == card
    assert read.hash == written.hash
    assert set(read.tensors) == {"model", "scalers"}
    for name, tensor in weights().items():
        assert read.weights[name].dtype == tensor.dtype
        assert torch.equal(read.weights[name], tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, card, value):
    broken = weights()
    broken["a"][1, 2] = value
    with pytest.raises(PluginError, match=r"'a' has numbers that are none .*; take a checkpoint from before"):
        save_artefact(tmp_path / "m", card, broken)
    with pytest.raises(PluginError, match="has numbers that are none"):
        load_artefact(tmp_path / "m")


def test_the_hash_tells_weights_and_cards_apart(tmp_path, card):
    hashes = {
        save_artefact(tmp_path / "a", card, weights(0)).hash,
        save_artefact(tmp_path / "b", card, weights(1)).hash,
        save_artefact(tmp_path / "c", ArtefactCard("krnn", {"fea_dim": 5}), weights(0)).hash,
    }

    assert len(hashes) == 3
    assert save_artefact(tmp_path / "d", card, weights(0)).hash in hashes


def test_swapped_weights_are_refused(tmp_path, card):
    save_artefact(tmp_path / "a", card, weights(0))
    save_artefact(tmp_path / "b", card, weights(1))
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())

    with pytest.raises(PluginError, match=r"model\.safetensors has hash .* the file was changed or swapped"):
        load_artefact(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("architecture"), "no 'architecture'"),
        (lambda card: card.update(format=99), "has format 99; this version reads up to 1"),
        (lambda card: card.update(lookbak=3), "unknown 'lookbak'; did you mean 'lookback'?"),
        (lambda card: card.update(tensors=3), "not the card of an artefact"),
    ],
)
def test_a_card_that_cannot_be_one_is_refused(tmp_path, card, change, message):
    save_artefact(tmp_path, card, weights())
    content = json.loads((tmp_path / CARD).read_text())
    change(content)
    (tmp_path / CARD).write_text(json.dumps(content))

    with pytest.raises(PluginError, match=message.replace("?", r"\?")):
        load_artefact(tmp_path)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("format", "x", "format 'x'; expected a whole number"),
    ("architecture", None, "architecture None; expected a text"),
    ("configuration", [1], r"configuration \[1\]; expected an object"),
    ("conventions", None, "conventions None; expected an object"),
    ("label", [], r"label \[\]; expected an object"),
    ("inputs", None, "inputs None; expected a list of texts"),
    ("trained_on", "BTC", "trained_on 'BTC'; expected a list of texts"),
    ("trained_until", "2024-01-01", "trained_until '2024-01-01'; expected UTC nanoseconds, or null"),
    ("trained_until", 1.5, "trained_until 1.5; expected UTC nanoseconds, or null"),
    ("lookback", "x", "lookback 'x'; expected a whole number"),
    ("horizon", -1, "horizon -1; expected a whole number"),
    ("tensors", {"model": 3}, "tensors of 'model': 3; expected a file's name"),
    ("tensors", {"../model": "a"}, "tensors of '../model'"),
    ("tensors", {}, "names no model.safetensors among its tensors"),
])  # fmt: skip
def test_a_card_of_wrong_types_is_refused(tmp_path, card, name, value, message):
    save_artefact(tmp_path, card, weights())
    content = json.loads((tmp_path / "artefact.json").read_text())
    (tmp_path / "artefact.json").write_text(json.dumps(content | {name: value}))

    with pytest.raises(PluginError, match=message):
        load_artefact(tmp_path)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"has no artefact\.json; `models import` makes one"):
        load_artefact(tmp_path)
    with pytest.raises(PluginError, match="there is no such folder"):
        load_artefact(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"not tensors"])
def test_damaged_tensors_are_refused(tmp_path, card, damage):
    save_artefact(tmp_path, card, weights())
    (tmp_path / "model.safetensors").write_bytes(damage)

    with pytest.raises(PluginError, match=r"model\.safetensors cannot be read as safetensors"):
        load_artefact(tmp_path)


def test_a_missing_file_is_refused(tmp_path, card):
    save_artefact(tmp_path, card, weights())
    (tmp_path / "model.safetensors").unlink()

    with pytest.raises(PluginError, match="cannot be read"):
        load_artefact(tmp_path)
