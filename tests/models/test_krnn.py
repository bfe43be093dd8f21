"""KRNN against a GRU written out, against Qlib's tensors, and its fast forms against the plain one."""

from itertools import product

import pytest
import torch

from engine.errors import PluginError
from models.krnn import KRNN, KRNNConfiguration, configuration_of, load_krnn
from models.verification import verify_folder


def network(seed: int = 0, **sizes) -> KRNN:
    torch.manual_seed(seed)
    return KRNN(**sizes).eval()


def by_the_formula(net: KRNN, window: torch.Tensor) -> float:
    """One window [T, F], one number at a time: Conv1d with zero padding, then r, z, n and h' = (1 − z)∘n + z∘h."""
    of, conv = net.configuration, net.encoder.cnn_encoder.conv
    pad = (of.cnn_kernel_size - 1) // 2
    padded = torch.cat([torch.zeros(pad, of.fea_dim), window, torch.zeros(pad, of.fea_dim)])
    steps = [
        conv.bias + sum(conv.weight[:, :, w] @ padded[t + w] for w in range(of.cnn_kernel_size))
        for t in range(len(padded) - of.cnn_kernel_size + 1)
    ]
    total = torch.zeros(of.rnn_dim)
    for gru in net.encoder.krnn_encoder.rnn_modules:
        states = [torch.zeros(of.rnn_dim) for _ in range(of.rnn_layers)]
        for x in steps:
            for layer, h in enumerate(states):
                w_i, w_h = getattr(gru, f"weight_ih_l{layer}"), getattr(gru, f"weight_hh_l{layer}")
                b_i, b_h = getattr(gru, f"bias_ih_l{layer}"), getattr(gru, f"bias_hh_l{layer}")
                i, j = (w_i @ x + b_i).chunk(3), (w_h @ h + b_h).chunk(3)
                r, z = torch.sigmoid(i[0] + j[0]), torch.sigmoid(i[1] + j[1])
                n = torch.tanh(i[2] + r * j[2])
                x = states[layer] = (1 - z) * n + z * h
        total += states[-1]
    return float(net.out_fc.weight[0] @ (total / of.rnn_dups) + net.out_fc.bias[0])


@pytest.mark.parametrize(("kernel", "dups", "layers"), [(1, 1, 1), (3, 2, 2), (5, 4, 1)])
def test_it_is_the_written_out_formula(kernel, dups, layers):
    net = network(cnn_dim=4, cnn_kernel_size=kernel, rnn_dim=3, rnn_dups=dups, rnn_layers=layers, fea_dim=2)
    x = torch.randn(3, 7, 2)

    with torch.no_grad():
        expected = torch.tensor([by_the_formula(net, window) for window in x])
        torch.testing.assert_close(net(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("rows", "kernel", "dups", "layers"), list(product([1, 5, 40], [1, 3], [1, 3], [1, 2])))
def test_the_fused_forward_is_the_plain_one(rows, kernel, dups, layers):
    net = network(rows, cnn_dim=8, cnn_kernel_size=kernel, rnn_dim=6, rnn_dups=dups, rnn_layers=layers)
    x = torch.randn(rows, 6 * 20)

    with torch.no_grad():
        torch.testing.assert_close(net.infer(x), net(x), atol=1e-6, rtol=0)


def test_one_by_one_is_the_batch():
    net = network()
    x = torch.randn(50, 360)

    torch.testing.assert_close(torch.cat([net.infer(row[None]) for row in x]), net.infer(x), atol=1e-6, rtol=0)


def test_the_wavefront_has_the_gradients_of_the_plain_forward():
    net = network(cnn_dim=8, rnn_dim=6)
    x = torch.randn(9, 60)

    def gradients(forward):
        net.zero_grad()
        forward(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    for ours, plain in zip(gradients(net.wavefront), gradients(net.forward), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-4)


def test_changed_weights_are_folded_anew():
    net = network()
    x = torch.randn(3, 360)
    before = net.infer(x)
    net.load_state_dict(network(seed=1).state_dict())

    with torch.no_grad():
        torch.testing.assert_close(net.infer(x), net(x), atol=1e-6, rtol=0)
    assert not torch.allclose(before, net.infer(x))


def test_layouts_differ_by_a_transposition():
    raw, field_major = network(layout="qlib_raw"), network(layout="field_major")
    x = torch.randn(4, 6, 60)  # field-major blocks
    by_time = x.transpose(1, 2).reshape(4, -1)

    with torch.no_grad():
        torch.testing.assert_close(field_major(x.reshape(4, -1)), raw(by_time), atol=0, rtol=0)
        assert not torch.allclose(field_major(x.reshape(4, -1)), raw(x.reshape(4, -1)))


def test_parameters_are_counted_by_formula():
    for sizes in ({}, {"rnn_layers": 3, "rnn_dups": 5}, {"agg": "node", "nodes": 7}, {"cnn_dim": 8, "rnn_dim": 8}):
        net = KRNN(**sizes)
        assert net.configuration.parameter_count == sum(p.numel() for p in net.parameters())


def test_weights_of_symbols_choose_among_the_grus():
    net = network(agg="node", nodes=3, rnn_dups=2)
    with torch.no_grad():
        net.node_weights.weight.copy_(torch.tensor([[50.0, -50.0], [-50.0, 50.0], [0.0, 0.0]]))
        x = torch.randn(1, 360).expand(3, -1)
        first, second, both = net(x, torch.arange(3))

        assert float(both) == pytest.approx(float(first + second) / 2, abs=1e-6)
        assert abs(float(first - second)) > 1e-4
        torch.testing.assert_close(net.infer(x, torch.arange(3)), net(x, torch.arange(3)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"cnn_kernel_size": 4}, "cnn_kernel_size is 4; expected an odd one"),
        ({"rnn_dups": 0}, "rnn_dups is 0; expected a whole number of 1 or more"),
        ({"layout": "rows"}, "layout is 'rows'; expected one of field_major"),
        ({"agg": "node"}, "needs the number of symbols"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(PluginError, match=message):
        KRNNConfiguration(**sizes)


@pytest.mark.parametrize("shape", [(4, 361), (4, 10, 5), (4, 2, 10, 6), (4,), (4, 0)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(PluginError, match=r"an input of shape .* expected \[N, T·6\]"):
        network()(torch.zeros(shape))


def test_four_axes_are_joined_along_time_as_qlib_does():
    net = network(layout="qlib_raw", cnn_kernel_size=4, fea_dim=6)
    x = torch.randn(2, 3, 5, 6)

    with torch.no_grad():
        torch.testing.assert_close(net(x), net(x.reshape(2, 15, 6)), atol=0, rtol=0)
        torch.testing.assert_close(net.infer(x), net(x), atol=1e-6, rtol=0)


def test_sizes_are_recovered_from_a_state_dict():
    sizes = KRNNConfiguration(5, 12, 5, 10, 4, 3, layout="qlib_raw")
    weights = KRNN(sizes).state_dict()

    assert configuration_of(weights, "qlib_raw") == sizes
    with pytest.raises(PluginError, match="not the state dict of a KRNN: it has 'extra'"):
        load_krnn({**weights, "extra": torch.zeros(1)}, "qlib_raw")
    with pytest.raises(PluginError, match=r"it has no 'out_fc\.weight'"):
        load_krnn({name: w for name, w in weights.items() if name != "out_fc.weight"}, "qlib_raw")
    with pytest.raises(PluginError, match="does not fit its own sizes"):
        load_krnn({**weights, "out_fc.bias": torch.zeros(2)}, "qlib_raw")


@pytest.mark.parametrize("name", ["alpha360_bench", "alpha360_k3_h64", "single_row_k5"])
def test_it_is_qlib_s(golden, name):
    checks = list(verify_folder(golden / "krnn" / name))

    assert {check.name for check in checks} == {"y", "y (fused)", "cnn_out", "encoder_out"}
    assert [check for check in checks if not check.is_ok] == []
