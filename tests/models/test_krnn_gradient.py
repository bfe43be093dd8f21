"""The gradient that is written out is the one of finite differences, and autograd's of the plain network."""

import pytest
import torch
from torch import nn

from models.krnn import KRNN
from models.krnn_gradient import LayerWeights, last_states


def layers_of(k: int, inputs: int, size: int, count: int, dtype: torch.dtype) -> list[LayerWeights]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).mul_(0.5).requires_grad_()

    return [
        LayerWeights(
            draw(k, width, 2 * size), draw(k, width, size), draw(k, size, 2 * size), draw(k, size, size),
            draw(k, 1, size), draw(k, 1, 2 * size), draw(k, 1, size),
        )
        for width in (inputs, *(size,) * (count - 1))
    ]


@pytest.mark.parametrize(("k", "count", "steps"), [(1, 1, 1), (2, 1, 3), (1, 2, 4), (3, 3, 2)])
def test_it_is_that_of_finite_differences(k, count, steps):
    layers = layers_of(k, 4, 2, count, torch.float64)
    x = torch.randn(steps, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    width = len(LayerWeights._fields)

    def states(*given: torch.Tensor) -> torch.Tensor:
        return last_states(x, [LayerWeights(*given[start : start + width]) for start in range(0, len(given), width)])

    given = [one for layer in layers for one in layer]
    # The first layer's own biases are not looked at: its inputs carry them.
    assert torch.autograd.gradcheck(states, given, atol=1e-7)
    states(*given).sum().backward()
    assert not given[5].grad.any()
    assert not given[6].grad.any()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("dups", "agg"), [(1, "mean"), (3, "mean"), (3, "node")])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("rows", [1, 40])
def test_every_weight_has_the_gradient_that_the_plain_network_gives_it(layers, dups, agg, kernel, rows):
    torch.manual_seed(2)
    network = KRNN(
        fea_dim=3, cnn_dim=5, cnn_kernel_size=kernel, rnn_dim=4, rnn_dups=dups, rnn_layers=layers, agg=agg, nodes=6,
        layout="time_major",
    )
    x, y, nodes = torch.randn(rows, 12, 3), torch.randn(rows), torch.arange(rows) % 6

    found = []
    for forward in (network.forward, network.wavefront):
        network.zero_grad()
        nn.functional.mse_loss(forward(x, nodes), y).backward()
        found.append({name: one.grad.clone() for name, one in network.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, atol=2e-6, rtol=1e-5, msg=name)


def test_an_input_that_needs_a_gradient_gets_it():
    torch.manual_seed(2)
    network = KRNN(fea_dim=3, cnn_dim=5, rnn_dim=4, layout="time_major")
    x = torch.randn(2, 12, 3)
    found = []
    for forward in (network.forward, network.wavefront):
        given = x.clone().requires_grad_()
        forward(given).sum().backward()
        found.append(given.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def test_a_graph_can_be_walked_twice():
    torch.manual_seed(2)
    network = KRNN(fea_dim=3, cnn_dim=5, rnn_dim=4, layout="time_major")
    loss, weight = network.wavefront(torch.randn(40, 12, 3)).square().sum(), network.out_fc.weight
    hidden = network.encoder.krnn_encoder.rnn_modules[0].weight_hh_l0
    first, again = (torch.autograd.grad(loss, (weight, hidden), retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
