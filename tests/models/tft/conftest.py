"""A network of every kind."""

import pytest

from models.tft.network import TFT
from tests.models.tft.networks import KINDS, make_network


@pytest.fixture(params=KINDS, scope="module")
def network(request) -> TFT:
    return make_network(**KINDS[request.param])
