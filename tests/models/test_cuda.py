"""The other networks on a CUDA device: the numbers of the CPU, but for rounding."""

import pytest
import torch

from engine.bars import HOUR
from models.devices import choose_device
from models.krnn import KRNN
from models.position.features import SLOTS
from models.position.head import HeadSizes, Policy, PositionHead, Serving
from models.position.price_transformer import PRESETS, PriceTransformer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]


def test_auto_takes_it():
    assert choose_device("auto").kind == "cuda"
    assert choose_device("auto").determinism == "device-exact"


@pytest.mark.parametrize("rows", [1, 100])
def test_krnn_folds_its_weights_again_after_moving(rows):
    torch.manual_seed(0)
    network, x = KRNN().eval(), torch.randn(rows, 360)
    expected = network.infer(x)

    made = network.to("cuda").infer(x.cuda())

    torch.testing.assert_close(made.cpu(), expected, atol=2e-3, rtol=1e-3)  # TF32 may be on
    torch.testing.assert_close(network.to("cpu").infer(x), expected)


def test_a_price_transformer_and_a_position_head():
    torch.manual_seed(0)
    sizes = PRESETS["nano"]
    network, head = PriceTransformer(sizes).eval(), PositionHead(HeadSizes(sizes.feature_count)).eval()
    slots = torch.randn(6, 180, len(SLOTS))

    def shares(device: str) -> list[float]:
        with torch.inference_mode():
            features = network.to(device)(slots.to(device)).features
        policy = Policy(head.to(device), Serving(), "m")
        names = [f"S{place}" for place in range(6)]
        made = policy.step(features, {name: policy.begin() for name in names}, {}, HOUR, HOUR)
        return list(made.shares.values())

    assert shares("cuda") == pytest.approx(
        shares("cpu"), abs=0.11
    )  # one step of the grid, where a wish is near an edge
