"""Kronos on a CUDA device: moved there before it is fused, it makes the tokens of the CPU."""

import numpy as np
import pytest
import torch

from models.kronos.configuration import MODELS, TOKENIZERS
from models.kronos.network import Kronos
from models.kronos.pipeline import KronosPipeline
from models.kronos.preparation import stamps_of
from models.kronos.sampling import Sampling, greedy
from models.kronos.tokenizer import KronosTokenizer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]

HOUR = 3_600_000_000_000


def windows(count: int, length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (count, length)), axis=1))
    return [np.stack([one, one * 1.01, one * 0.99, one, one * 7, one * one * 7], axis=1) for one in close]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("overflow", ["exact", "budget", "chunked"])
def test_its_tokens_are_those_of_the_cpu(network, tokenizer, samples, overflow):
    stamps = np.stack([stamps_of(np.arange(30) * HOUR)] * 2)

    def made(device: str) -> tuple[np.ndarray, np.ndarray]:
        pipeline = KronosPipeline(_copy(tokenizer).to(device), _copy(network).to(device), 24, overflow=overflow)
        assert pipeline.device.type == device
        paths = pipeline.paths(windows(2, 20), stamps, 10, samples=samples, seeds=[1, 2], sampling=Sampling(0.8))
        return paths.s1, paths.values

    (tokens, values), (expected_tokens, expected) = made("cuda"), made("cpu")

    assert (tokens == expected_tokens).mean() > 0.99  # rounding differs: a token may flip where two are near
    if np.array_equal(tokens, expected_tokens):
        np.testing.assert_allclose(values, expected, rtol=1e-3)


def test_a_published_size_runs_with_narrower_weights():
    torch.manual_seed(0)
    tokenizer, network = KronosTokenizer(TOKENIZERS["base"]).to("cuda"), Kronos(MODELS["small"]).to("cuda")
    pipeline = KronosPipeline(tokenizer, network, 512, dtype=torch.bfloat16)
    stamps = np.stack([stamps_of(np.arange(408) * HOUR)] * 4)

    paths = pipeline.paths(windows(4, 400), stamps, 8, samples=2, draw=greedy)

    assert paths.values.shape == (4, 2, 8, 6)
    assert np.isfinite(paths.values).all()


def _copy(module):
    made = type(module)(module.sizes)
    made.load_state_dict(module.state_dict())
    return made.eval()
