"""Small networks with decided opinions, so that tokens do not hang on rounding."""

import pytest
import torch

from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer

SMALL = ModelSizes(4, 5, 3, 32, 2, 48, 0.2, 0.1, 0.2, 0.1, True)
BITS = TokenizerSizes(6, 24, 3, 32, 2, 3, 0.0, 0.0, 0.0, 4, 5, 0.05, 1.0, 1.1, 0.05, 3)


@pytest.fixture(scope="session")
def network() -> Kronos:
    torch.manual_seed(0)
    made = Kronos(SMALL).eval()
    with torch.no_grad():
        made.head.proj_s1.weight *= 5
        made.head.proj_s2.weight *= 5
    return made


@pytest.fixture(scope="session")
def tokenizer() -> KronosTokenizer:
    torch.manual_seed(1)
    return KronosTokenizer(BITS).eval()
