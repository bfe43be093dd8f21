"""Generating with kept keys and values gives the tokens that running every window anew gives."""

import copy

import pytest
import torch

from engine.errors import PluginError
from models.kronos.configuration import ModelSizes
from models.kronos.decoder import FusedKronos
from models.kronos.generation import Generation, plan
from models.kronos.network import Kronos
from models.kronos.reference import naive_generation
from models.kronos.sampling import OwnChance, Sampling, greedy


def tokens(series: int, length: int, seed: int = 1):
    """Return s1, s2 and stamps of `length` bars."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (series, length), generator=generator)

    stamp = torch.stack([draw(0, 60), draw(0, 24), draw(0, 7), draw(1, 32), draw(1, 13)], dim=-1)
    return draw(0, 16), draw(0, 32), stamp


@pytest.mark.parametrize(
    ("series", "samples", "history", "horizon", "context"),
    [
        (1, 1, 10, 8, 32),  # fits
        (2, 3, 10, 8, 17),  # fits exactly
        (2, 3, 10, 30, 16),  # slides from the middle on, in the end past all of history
        (1, 2, 40, 10, 16),  # more history than is seen
        (2, 2, 5, 40, 12),
        (1, 1, 1, 6, 4),
    ],
)
@pytest.mark.parametrize("sampling", [Sampling(1.0, 0, 0.9), Sampling(0.7, 4, 1.0)])
def test_it_is_the_naive_loop(network, series, samples, history, horizon, context, sampling):
    s1, s2, stamp = tokens(series, history + horizon)
    chance = OwnChance(range(series), samples, horizon, "cpu")
    past = s1[:, :history], s2[:, :history], stamp

    ours = Generation(FusedKronos(network), sampling, chance, context).run(*past, horizon, samples)
    naive = naive_generation(network, sampling, chance, context, *past, horizon, samples)

    for fast, slow in zip(ours, naive, strict=True):
        assert torch.equal(fast, slow)


@pytest.mark.parametrize(
    ("width", "heads", "layers", "learns"), [(24, 12, 1, True), (24, 4, 2, False), (40, 5, 2, True), (208, 4, 1, False)]
)
@pytest.mark.parametrize("samples", [1, 2])
def test_it_is_the_naive_loop_for_heads_of_any_size(width, heads, layers, learns, samples):
    torch.manual_seed(width)
    made = Kronos(ModelSizes(4, 5, layers, width, heads, 3 * width // 2, 0.1, 0.1, 0.1, 0.1, learns)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name or name.endswith("bias"):  # they are 1 and 0 in a new network
                parameter.add_(0.3 * torch.randn_like(parameter))
    s1, s2, stamp = tokens(2, 24)
    chance = OwnChance(range(2), samples, 14, "cpu")
    past = s1[:, :10], s2[:, :10], stamp

    ours = Generation(FusedKronos(made), Sampling(), chance, 18).run(*past, 14, samples)

    for fast, slow in zip(ours, naive_generation(made, Sampling(), chance, 18, *past, 14, samples), strict=True):
        assert torch.equal(fast, slow)


@pytest.mark.parametrize("rows", [1, 3])
def test_logits_are_those_of_the_network(network, rows):
    s1, s2, stamp = tokens(rows, 20)
    fused = FusedKronos(network)
    state = fused.begin(s1[:, :15], s2[:, :15], fused.times(stamp[:, :15]), room=5)
    fused.extend(state, s1[:, 15:19], s2[:, 15:19], fused.times(stamp[:, 15:19]))
    fused.extend(state, s1[:, 19:], s2[:, 19:], fused.times(stamp[:, 19:]))

    with torch.inference_mode():
        context = network.context(s1, s2, stamp)
        torch.testing.assert_close(fused.s1_logits(state), network.head.proj_s1(context[:, -1]), atol=2e-5, rtol=1e-4)
        expected = network.s2_logits(context, s1[:, -1:])
        torch.testing.assert_close(fused.s2_logits(state, s1[:, -1]), expected, atol=2e-5, rtol=1e-4)


def test_a_path_does_not_depend_on_what_else_is_in_the_batch(network):
    s1, s2, stamp = tokens(4, 20)
    fused = FusedKronos(network)

    def run(rows: list[int], samples: int) -> torch.Tensor:
        chance = OwnChance([100 + row for row in rows], samples, 8, "cpu")
        made = Generation(fused, Sampling(), chance, 64).run(s1[rows, :12], s2[rows, :12], stamp[rows], 8, samples)
        return torch.stack(made).view(2, len(rows), samples, 8)

    together = run([0, 1, 2, 3], 3)

    for row in range(4):
        assert torch.equal(run([row], 3)[:, 0], together[:, row])
    assert torch.equal(run([3, 1], 3)[:, 1], together[:, 1])
    assert not torch.equal(together[:, 0, 0], together[:, 0, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("context", [64, 14])  # all fits; the window slides
def test_nor_in_batches_that_other_products_are_taken_for(dtype, context):
    torch.manual_seed(3)
    made = Kronos(ModelSizes(4, 5, 2, 320, 5, 384, 0.1, 0.1, 0.1, 0.1, True)).eval()
    s1, s2, stamp = tokens(7, 20)
    fused = FusedKronos(made, dtype)

    def run(rows: list[int]) -> torch.Tensor:
        chance = OwnChance([100 + row for row in rows], 2, 8, "cpu")
        found = Generation(fused, Sampling(), chance, context).run(s1[rows, :12], s2[rows, :12], stamp[rows], 8, 2)
        return torch.stack(found).view(2, len(rows), 2, 8)

    together = run(list(range(7)))

    for row in range(7):
        assert torch.equal(run([row])[:, 0], together[:, row])
    assert torch.equal(run([5, 0, 3]), together[:, [5, 0, 3]])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", [1, 2])
def test_paths_drawn_from_chances_that_are_none_are_told(network, value, half):
    broken = copy.deepcopy(network)
    getattr(broken.head, f"proj_s{half}").bias.data[3] = value
    s1, s2, stamp = tokens(2, 14)
    chance = OwnChance([1, 2], 3, 4, "cpu")

    for one, is_sound in ((network, True), (broken, False)):
        generation = Generation(FusedKronos(one), Sampling(), chance, 64)
        generation.run(s1[:, :10], s2[:, :10], stamp, 4, 3)
        assert generation.is_sound.tolist() == [is_sound] * 6


def test_budgeted_history_is_exact_for_that_history(network):
    s1, s2, stamp = tokens(1, 40)
    fused = FusedKronos(network)
    chance = OwnChance([5], 2, 10, "cpu")

    budget = Generation(fused, Sampling(), chance, 16, "budget").run(s1[:, :30], s2[:, :30], stamp, 10, 2)
    shorter = Generation(fused, Sampling(), chance, 16).run(s1[:, 23:30], s2[:, 23:30], stamp[:, 23:], 10, 2)

    assert all(torch.equal(*pair) for pair in zip(budget, shorter, strict=True))


def test_chunked_eviction_recomputes_rarely_and_says_so(network):
    s1, s2, stamp = tokens(1, 200)
    costs = [plan(100, 100, 1, 100, mode) for mode in ("exact", "chunked", "budget")]

    assert [cost.recomputed for cost in costs] == [99, 2, 0]
    assert costs[0].tokens > 20 * costs[1].tokens
    assert "99 run the whole window anew" in costs[0].words
    made = Generation(FusedKronos(network), Sampling(), greedy, 100, "chunked").run(
        s1[:, :100], s2[:, :100], stamp, 100, 1
    )
    assert made[0].shape == (1, 100)


def test_narrower_weights_change_logits_little(network):
    s1, s2, stamp = tokens(3, 20)
    exact, narrow = (FusedKronos(network, dtype) for dtype in (torch.float32, torch.bfloat16))
    logits = [fused.s1_logits(fused.begin(s1, s2, fused.times(stamp))).log_softmax(-1) for fused in (exact, narrow)]

    divergence = (logits[0].exp() * (logits[0] - logits[1])).sum(-1)

    assert 0 < float(divergence.max()) < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1, 8), "history 0, horizon 1"),
        ((8, 0, 1, 8), "horizon 0"),
        ((8, 20, 1, 8, "budget"), "horizon 20 leaves no room for history in a context of 8"),
        ((8, 20, 1, 8, "rolling"), "overflow is 'rolling'; expected exact, budget or chunked"),
    ],
)
def test_what_cannot_be_generated_is_refused(arguments, message):
    with pytest.raises(PluginError, match=message):
        plan(*arguments)


def test_chances_follow_top_k_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))

    assert Sampling(top_p=1.0).chances(logits)[0].tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert Sampling(top_p=0.6).chances(logits)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    assert Sampling(top_p=0.01).chances(logits)[0].tolist() == pytest.approx([1, 0, 0, 0])
    assert Sampling(top_k=3, top_p=0.01).chances(logits)[0].tolist() == pytest.approx(
        [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]
    )
    assert Sampling(top_k=1).chances(torch.zeros(1, 4))[0].tolist() == [0.25] * 4  # ties stay
    with pytest.raises(PluginError, match="temperature is 0"):
        Sampling(temperature=0)
    with pytest.raises(PluginError, match="top_k is -1"):
        Sampling(top_k=-1)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("has_ties", [False, True])
def test_top_p_is_the_original_filter_with_ties_too(top_p, has_ties):
    logits = torch.randn(5, 64, generator=torch.Generator().manual_seed(3)) * 2
    logits = logits.round() if has_ties else logits
    ordered, places = logits.sort(descending=True)
    exceeded = ordered.softmax(-1).cumsum(-1) > top_p
    dropped = torch.cat([torch.zeros(5, 1, dtype=torch.bool), exceeded[:, :-1]], dim=-1)
    expected = logits.masked_fill(torch.zeros_like(dropped).scatter(-1, places, dropped), float("-inf")).softmax(-1)

    assert torch.equal(Sampling(top_p=top_p).chances(logits), expected)


def test_tokens_are_drawn_at_their_chances():
    chances = torch.tensor([[0.6, 0.0, 0.4]]).expand(4000, 3)
    drawn = OwnChance(range(4000), 1, 1, "cpu")(chances, 0, 0)

    assert (drawn == 1).sum() == 0
    assert float((drawn == 0).float().mean()) == pytest.approx(0.6, abs=0.03)
