"""The network: what it may see, what padding may not do, what it says of itself; and its fast form."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PluginError
from models.tft.configuration import TFTConfiguration
from models.tft.fused import ROWS, FusedTFT
from models.tft.network import TFT
from models.tft.tensors import TFTInputs
from tests.models.tft.networks import KINDS, REALS, make_inputs, make_network


def everything(output) -> dict[str, torch.Tensor]:
    named = {name: tensor for name, tensor in vars(output).items() if name != "raw"}
    return {**named, **{f"raw.{place}": raw for place, raw in enumerate(output.raw)}}


def assert_same(found, expected, tolerance: float) -> None:
    ours, theirs = everything(found), everything(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[name], atol=tolerance, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


# ── the fused forward ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("rows", "ahead", "ragged"), [(1, 1, False), (5, 3, False), (20, 4, True), (1, 1, True)])
def test_the_fused_forward_is_the_plain_one(network, rows, ahead, ragged):
    inputs = make_inputs(network, rows, 9, ahead, ragged=ragged)

    with torch.no_grad():
        plain = network(inputs)
    fused = FusedTFT(network)

    # Weights of ±0.4 in narrow LayerNorms round coarsely: both are off by a few 1e-6 of float64.
    assert_same(fused(inputs), plain, 1e-5)
    assert_same(fused(inputs), fused(inputs), 0)


def test_in_float64_the_fused_forward_is_the_plain_one_to_the_last_digits(network):
    inputs = make_inputs(network, 6, 9, 3, ragged=True).double()
    exact = network.double()
    try:
        with torch.no_grad():
            # 1e-7: torch's own interpolation rounds its places to float32.
            assert_same(FusedTFT(exact)(inputs), exact(inputs), 1e-7)
    finally:
        network.float()


def test_at_the_sizes_of_use_the_fused_forward_is_within_1e_6():
    names = [f"r{place}" for place in range(20)]
    torch.manual_seed(0)

    network = TFT(
        TFTConfiguration.of(
            {
                "hidden_size": 64,
                "static_categoricals": ["symbol"],
                "time_varying_reals_encoder": names,
                "time_varying_reals_decoder": names[:2],
                "x_reals": names,
                "x_categoricals": ["symbol"],
                "embedding_sizes": {"symbol": [30, 8]},
            }
        )
    ).eval()
    inputs = make_inputs(network, 12, 48, 1)

    with torch.no_grad():
        plain, fused = network(inputs), FusedTFT(network)(inputs)

    largest = float(plain.raw[0].abs().max())
    assert float((plain.raw[0] - fused.raw[0]).abs().max()) <= 1e-6 * max(largest, 1.0)


def test_many_windows_are_one_after_another(network):
    inputs = make_inputs(network, ROWS + 7, 6, 2, ragged=True)
    fused = FusedTFT(network)

    together = everything(fused(inputs))

    for at in (0, 5, ROWS - 1, ROWS, ROWS + 6):
        for name, tensor in everything(fused(inputs.rows(slice(at, at + 1)))).items():
            torch.testing.assert_close(tensor[0], together[name][at], atol=5e-6, rtol=0)


def test_kept_static_values_are_those_of_the_window():
    network = make_network(**KINDS["static and in time"])
    fused = FusedTFT(network)
    inputs = make_inputs(network, 8, 5, 1)
    first = everything(fused(inputs))
    other = replace(inputs, encoder_cat=(inputs.encoder_cat + 1) % torch.tensor([5, 7, 3]))

    with torch.no_grad():
        assert_same(fused(other), network(other), 1e-5)
    for name, tensor in everything(fused(inputs)).items():
        assert torch.equal(tensor, first[name])


def test_what_is_kept_is_bounded():
    network = make_network(**KINDS["one variable each"], hidden_size=2)
    fused = FusedTFT(network, kept_static=10)
    inputs = make_inputs(network, 8, 1, 1)
    for step in range(3):
        fused(replace(inputs, encoder_cont=inputs.encoder_cont + step))

    assert len(fused._kept) == 10


def test_later_changes_of_the_network_do_not_reach_its_fused_form():
    network = make_network(**REALS)
    inputs = make_inputs(network)
    fused = FusedTFT(network)
    before = fused(inputs).raw[0].clone()
    with torch.no_grad():
        network.output_layer.bias += 1

    assert torch.equal(fused(inputs).raw[0], before)
    torch.testing.assert_close(FusedTFT(network)(inputs).raw[0], before + 1)


def test_dropout_does_not_reach_the_fused_form():
    network = make_network(**KINDS["shared groups"], dropout=0.5)
    inputs = make_inputs(network)
    with torch.no_grad():
        expected = network(inputs)
    network.train()

    assert_same(FusedTFT(network)(inputs), expected, 1e-5)
    assert network.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_a_gpu_it_says_what_it_says_on_a_cpu(network):
    inputs = make_inputs(network, 6, 9, 3, ragged=True)
    with torch.no_grad():
        expected = network(inputs)
    moved = copy.deepcopy(network).to("cuda")

    # cuDNN's LSTM may multiply in TF32, with 10 bits.
    for forward in (moved, FusedTFT(moved)):
        with torch.no_grad():
            found = forward(inputs.to("cuda"))
        for ours, theirs in zip(found.raw, expected.raw, strict=True):
            torch.testing.assert_close(ours.cpu(), theirs, atol=5e-3, rtol=0)


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_and_attention_are_shares(network):
    inputs = make_inputs(network, 6, 8, 3, ragged=True)
    past, ahead = inputs.lengths

    output = FusedTFT(network)(inputs)

    for name in ("static_variables", "encoder_variables", "decoder_variables"):
        weights = getattr(output, name)
        if weights.shape[-1]:
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    seen = torch.cat([output.encoder_attention, output.decoder_attention], -1)
    torch.testing.assert_close(seen.sum(-1), torch.ones_like(seen.sum(-1)))
    for row in range(6):
        assert not output.encoder_attention[row, :, :, past[row] :].any()
    if network.configuration.causal_attention:
        steps = torch.arange(3)
        assert not output.decoder_attention.permute(0, 2, 1, 3)[:, :, steps[None] >= steps[:, None]].any()
    else:
        for row in range(6):
            assert not output.decoder_attention[row, :, :, ahead[row] :].any()


def test_what_is_padding_changes_nothing(network):
    inputs = make_inputs(network, 6, 8, 3, ragged=True)
    past, ahead = inputs.lengths
    noisy_past, noisy_ahead = inputs.encoder_cont.clone(), inputs.decoder_cont.clone()
    for row in range(6):
        noisy_past[row, past[row] :] = 50.0
        noisy_ahead[row, ahead[row] :] = -50.0
    noisy = replace(inputs, encoder_cont=noisy_past, decoder_cont=noisy_ahead)

    for forward in (network, FusedTFT(network)):
        with torch.no_grad():
            clean, other = forward(inputs), forward(noisy)
        for row in range(6):
            torch.testing.assert_close(
                clean.raw[0][row, : ahead[row]], other.raw[0][row, : ahead[row]], atol=1e-5, rtol=0
            )


def test_a_padded_window_is_the_short_one(network):
    inputs = make_inputs(network, 4, 8, 3)
    short = TFTInputs(
        inputs.encoder_cont[:, :5], inputs.decoder_cont[:, :2], inputs.encoder_cat[:, :5], inputs.decoder_cat[:, :2]
    )
    padded = replace(inputs, encoder_lengths=torch.full((4,), 5), decoder_lengths=torch.full((4,), 2))

    with torch.no_grad():
        for forward in (network, FusedTFT(network)):
            for ours, theirs in zip(forward(padded).raw, forward(short).raw, strict=True):
                torch.testing.assert_close(ours[:, :2], theirs, atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(step=st.integers(0, 3), seed=st.integers(0, 1000))
def test_a_step_ahead_does_not_see_later_steps(step, seed):
    network = make_network(**KINDS["static and in time"])
    inputs = make_inputs(network, 2, 5, 4, seed=seed)
    later = inputs.decoder_cont.clone()
    later[:, step + 1 :] += 3.0

    with torch.no_grad():
        before, after = network(inputs), network(replace(inputs, decoder_cont=later))

    for one, other in zip(before.raw, after.raw, strict=True):
        assert torch.equal(one[:, : step + 1], other[:, : step + 1])
        if step < 3:
            assert not torch.equal(one[:, step + 1 :], other[:, step + 1 :])


def test_a_network_that_is_not_causal_sees_all_that_is_known_ahead():
    network = make_network(**KINDS["not causal"])
    inputs = make_inputs(network, 2, 5, 3)
    later = inputs.decoder_cont.clone()
    later[:, 2] += 3.0

    with torch.no_grad():
        first = network(inputs).raw[0][:, 0]
        assert not torch.equal(first, network(replace(inputs, decoder_cont=later)).raw[0][:, 0])


def test_every_weight_is_trained(network):
    inputs = make_inputs(network, 6, 8, 3)
    network.zero_grad()
    output = network.train()(inputs)
    sum(raw.square().sum() for raw in output.raw).backward()
    network.eval()

    of = network.configuration
    idle = [f"input_embeddings.embeddings.{name}." for name in of.embedding_sizes if name not in of.categoricals]
    if max(len(of.encoder_variables), len(of.decoder_variables)) < 2:
        idle.append("static_context_variable_selection.")  # of one variable or none, nothing is weighed
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert [name for name in without if not name.startswith(tuple(idle))] == []


def test_it_moves_in_half_precision():
    """The mask's −1e9 is beyond float16; hidden steps stay hidden."""
    network = make_network(**REALS)
    inputs = make_inputs(network, 3, 6, 2)
    with torch.no_grad():
        expected = network(inputs)
        narrow = network.bfloat16()
        found = narrow(
            replace(inputs, encoder_cont=inputs.encoder_cont.bfloat16(), decoder_cont=inputs.decoder_cont.bfloat16())
        )

    assert not found.decoder_attention[:, 0].any()
    torch.testing.assert_close(found.raw[0].float(), expected.raw[0], atol=0.3, rtol=0.1)


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_cont": torch.zeros(5, 7, 3)}, r"encoder_cont has shape \[5, 7, 3\]; expected \[5, 7, 4\]"),
        ({"encoder_cont": torch.zeros(7, 4)}, r"encoder_cont has shape \[7, 4\]; expected \[windows, steps, reals\]"),
        (
            {"decoder_cat": torch.zeros(5, 2, 3, dtype=torch.int64)},
            r"decoder_cat has shape \[5, 2, 3\]; expected \[5, 3, 3\]",
        ),
        ({"encoder_lengths": torch.tensor([7, 7, 0, 7, 7])}, "encoder_lengths from 0 to 7; expected 1…7"),
        ({"decoder_lengths": torch.tensor([1, 2, 3, 4, 3])}, "decoder_lengths from 1 to 4; expected 1…3"),
        ({"encoder_cat": torch.full((5, 7, 3), 3)}, "'regime' has the code 3; expected 0…2"),
        ({"decoder_cat": torch.full((5, 3, 3), -1)}, "has the code -1; expected 0…"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, message):
    network = make_network(**KINDS["static and in time"])
    inputs = replace(make_inputs(network), **change)

    for forward in (network, FusedTFT(network)):
        with pytest.raises(PluginError, match=message):
            forward(inputs)


def test_no_windows_and_no_steps_are_refused():
    network = make_network(**REALS)

    with pytest.raises(PluginError, match="there are no windows"):
        network(make_inputs(network).rows(slice(0, 0)))
    for past, ahead in product((0, 1), (0, 1)):
        if not past * ahead:
            with pytest.raises(PluginError, match="expected one of each or more"):
                network(make_inputs(network, 2, past, ahead))
