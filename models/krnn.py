"""KRNN: K parallel recurrent networks over a convolved window, averaged. A ranking score for each window.

Source: microsoft/qlib, `pytorch_krnn.py` (after microsoft/FOST): Conv1d over the window, K independent GRUs, the mean
of their last states, a linear read-out. Parameter names are qlib's, so that its state dicts load as they are.

Notation: N windows, T steps, F fields a step, C channels of the convolution, H units of a GRU, K GRUs, L layers.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.errors import PluginError
from models.krnn_gradient import LayerWeights, last_states

Layout = Literal["field_major", "time_major", "qlib_raw"]
Pool = Literal["last", "max"]

FEW_ROWS = 32
"""Windows up to which one large product for all steps beats a product a step (both exact; measured on one core)."""


@dataclass(frozen=True)
class KRNNConfiguration:
    """Sizes and conventions of a KRNN.

    Args:
        fea_dim: F; cnn_dim: C; cnn_kernel_size: odd, unless layout is "qlib_raw"; rnn_dim: H; rnn_dups: K;
            rnn_layers: L.
        dropout: between GRU layers, in training.
        layout: of a flat row of T·F numbers. "field_major": F blocks of T (Alpha360's own order); "time_major": T
            blocks of F; "qlib_raw": qlib's reading of Alpha360, which takes T consecutive numbers of one field for
            several fields: only for checkpoints that were trained so.
        agg: "mean" over the K GRUs, or "node": weights learned for each symbol, softmax over K (FOST); nodes: symbols.
        pool: "last" step, or "max" over time.
    """

    fea_dim: int = 6
    cnn_dim: int = 64
    cnn_kernel_size: int = 3
    rnn_dim: int = 64
    rnn_dups: int = 3
    rnn_layers: int = 2
    dropout: float = 0.0
    layout: Layout = "field_major"
    agg: Literal["mean", "node"] = "mean"
    pool: Pool = "last"
    nodes: int = 0

    def __post_init__(self) -> None:
        for name in ("fea_dim", "cnn_dim", "cnn_kernel_size", "rnn_dim", "rnn_dups", "rnn_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise PluginError(f"krnn: {name} is {value!r}; expected a whole number of 1 or more")
        for name, known in (
            ("layout", ("field_major", "time_major", "qlib_raw")),
            ("agg", ("mean", "node")),
            ("pool", ("last", "max")),
        ):
            if getattr(self, name) not in known:
                raise PluginError(f"krnn: {name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")
        if self.cnn_kernel_size % 2 == 0 and self.layout != "qlib_raw":
            raise PluginError(
                f"krnn: cnn_kernel_size is {self.cnn_kernel_size}; expected an odd one: an even one drops a step"
            )
        if self.agg == "node" and self.nodes < 1:
            raise PluginError("krnn: agg 'node' needs the number of symbols in `nodes`")

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained, by formula."""
        f, c, k, h = self.fea_dim, self.cnn_dim, self.cnn_kernel_size, self.rnn_dim
        gru = 3 * h * (c + h) + 6 * h + (self.rnn_layers - 1) * (6 * h * h + 6 * h)
        node = self.nodes * self.rnn_dups if self.agg == "node" else 0
        return c * f * k + c + self.rnn_dups * gru + h + 1 + node


class _Convolution(nn.Module):
    def __init__(self, of: KRNNConfiguration) -> None:
        super().__init__()
        self.conv = nn.Conv1d(of.fea_dim, of.cnn_dim, of.cnn_kernel_size, padding=(of.cnn_kernel_size - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, F] → [N, T, C] (T − 1 for an even kernel). Centred: step t sees t + 1, so only the last step may be
        used as a signal."""
        out: Tensor = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return out


class _Recurrence(nn.Module):
    def __init__(self, of: KRNNConfiguration) -> None:
        super().__init__()
        dropout = of.dropout if of.rnn_layers > 1 else 0.0
        self.rnn_modules = nn.ModuleList(
            nn.GRU(of.cnn_dim, of.rnn_dim, of.rnn_layers, dropout=dropout) for _ in range(of.rnn_dups)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, C] → [N, T, H, K]."""
        steps = x.transpose(0, 1).contiguous()
        return torch.stack([gru(steps)[0] for gru in self.rnn_modules], dim=-1).transpose(0, 1)


class _Encoder(nn.Module):
    def __init__(self, of: KRNNConfiguration) -> None:
        super().__init__()
        self.cnn_encoder = _Convolution(of)
        self.krnn_encoder = _Recurrence(of)


class KRNN(nn.Module):
    """The network.

    Raises:
        PluginError: sizes that cannot be (see KRNNConfiguration).
    """

    def __init__(self, configuration: KRNNConfiguration | None = None, **sizes: Any) -> None:
        super().__init__()
        self.configuration = of = configuration or KRNNConfiguration(**sizes)
        self.encoder = _Encoder(of)
        self.out_fc = nn.Linear(of.rnn_dim, 1)
        self.node_weights = nn.Embedding(of.nodes, of.rnn_dups) if of.agg == "node" else None
        self._folded: _Folded | None = None

    # ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def steps(self, x: Tensor) -> Tensor:
        """Return the windows as [N, T, F].

        Args:
            x: [N, T·F] in the configured layout, or [N, T, F]; with layout "qlib_raw" also [B, node, T, F], which qlib
                joins along time.
        Raises:
            PluginError: another rank, or a length that F does not divide.
        """
        f, layout = self.configuration.fea_dim, self.configuration.layout
        shape = f"an input of shape {list(x.shape)}"
        if x.dim() == 3 and x.shape[-1] == f:
            return x
        if layout == "qlib_raw" and x.dim() in (2, 3, 4) and x[0].numel() % f == 0:
            return x.reshape(len(x), -1, f)
        if x.dim() != 2 or x.shape[1] % f or not x.shape[1]:
            raise PluginError(f"krnn: {shape}; expected [N, T·{f}] or [N, T, {f}]")
        if layout == "field_major":
            return x.view(len(x), f, -1).transpose(1, 2)
        return x.view(len(x), -1, f)

    # ── plain forward: for training, and to hold the fast one against ───────────────────────────────────────────────

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the convolution's output [N, T', C] and every step's mean over the GRUs [N, T', H]."""
        convolved = self.encoder.cnn_encoder(self.steps(x))
        return convolved, self.encoder.krnn_encoder(convolved).mean(dim=-1)

    def forward(self, x: Tensor, nodes: Tensor | None = None) -> Tensor:
        """Return a score for each window, [N].

        Args:
            x: see `steps`; nodes: int64 [N], each window's symbol, for agg "node".
        """
        every = self.encoder.krnn_encoder(self.encoder.cnn_encoder(self.steps(x)))
        pooled = every[:, -1] if self.configuration.pool == "last" else every.amax(dim=1)
        out: Tensor = self.out_fc(self._aggregate(pooled, nodes)).squeeze(-1)
        return out

    def _aggregate(self, pooled: Tensor, nodes: Tensor | None) -> Tensor:
        """[N, H, K] → [N, H]."""
        if self.node_weights is None:
            return pooled.mean(dim=-1)
        if nodes is None:
            raise PluginError("krnn: agg 'node' needs each window's node")
        weights = self.node_weights(nodes).softmax(dim=-1)
        return torch.einsum("nhk,nk->nh", pooled, weights)

    # ── fused forward: the same numbers, two to three times as fast ─────────────────────────────────────────────────

    @torch.inference_mode()
    def infer(self, x: Tensor, nodes: Tensor | None = None) -> Tensor:
        """Return what `forward` returns, to 1e-6, without a graph: the convolution folded into the GRUs' input weights,
        all GRUs and layers advancing together, only the last state kept. The weights are folded once; call `refold`
        after changing them."""
        if self.configuration.pool != "last":
            return self.forward(x, nodes)
        if self._folded is None:
            self._folded = _Folded.of(self)
        return self._read_out(self._folded.last_states(self.steps(x)), nodes)

    def wavefront(self, x: Tensor, nodes: Tensor | None = None) -> Tensor:
        """Return what `forward` returns, with gradients: folded anew each time, so that they reach both factors."""
        if self.configuration.pool != "last" or (self.training and self.configuration.dropout):
            return self.forward(x, nodes)
        return self._read_out(_Folded.of(self).trained_states(self.steps(x)), nodes)

    def refold(self) -> None:
        """Forget the folded weights."""
        self._folded = None

    def _read_out(self, last: Tensor, nodes: Tensor | None) -> Tensor:
        """[K, N, H] → [N]."""
        out: Tensor = self.out_fc(self._aggregate(last.permute(1, 2, 0), nodes)).squeeze(-1)
        return out

    def _apply(self, *arguments: Any, **options: Any) -> "KRNN":
        self.refold()  # moved to another device or type
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """As nn.Module's."""
        self.refold()
        return super().load_state_dict(*arguments, **options)


@dataclass
class _Folded:
    """Weights of all K GRUs side by side; the first layer's take the convolution's input.

    Between the convolution and a GRU's input weights nothing is non-linear, so that both are one matrix over the k·F
    numbers that the kernel sees; zero padding stays exact, for it is the convolution's input that is padded. The gates
    r and z are kept apart from n, so that each product adds to what is there. Everything of n is twice as large: tanh a
    is 2 σ(2a) − 1, and torch's σ takes a sixth of its tanh's time.
    """

    kernel: int
    layers: list[LayerWeights]
    below: Tensor
    """−1"""

    @staticmethod
    def of(network: KRNN) -> "_Folded":
        conv = network.encoder.cnn_encoder.conv
        grus = list(network.encoder.krnn_encoder.rnn_modules)
        h = network.configuration.rnn_dim

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(gru, name) for gru in grus])

        folded = _Folded(conv.kernel_size[0], [], conv.weight.new_tensor(-1.0))
        for layer in range(network.configuration.rnn_layers):
            weight, bias = stacked(f"weight_ih_l{layer}"), stacked(f"bias_ih_l{layer}")
            if layer == 0:
                bias = bias + torch.einsum("kgc,c->kg", weight, conv.bias)
                weight = torch.einsum("kgc,cfw->kgwf", weight, conv.weight).flatten(2)
            weight, hidden = weight.transpose(1, 2), stacked(f"weight_hh_l{layer}").transpose(1, 2)
            of_hidden = stacked(f"bias_hh_l{layer}")
            of_gates, of_new = (bias[:, : 2 * h] + of_hidden[:, : 2 * h])[:, None], 2 * bias[:, None, 2 * h :]
            gates, new = weight[..., : 2 * h], 2 * weight[..., 2 * h :]
            if layer == 0:
                gates, new = torch.cat([gates, of_gates], 1), torch.cat([new, of_new], 1)
            folded.layers.append(LayerWeights(
                gates.contiguous(), new.contiguous(), hidden[..., : 2 * h].contiguous(),
                (2 * hidden[..., 2 * h :]).contiguous(), 2 * of_hidden[:, None, 2 * h :], of_gates, of_new,
            ))
        return folded

    def last_states(self, steps: Tensor) -> Tensor:
        """Return every GRU's last state in its last layer, [K, N, H], of windows [N, T, F]."""
        seen = self._seen(steps)
        count, rows = seen.shape[:2]
        k, h = self.layers[0].hidden_new.shape[:2]
        states = [steps.new_zeros(k, rows, h) for _ in self.layers]
        ahead: list[tuple[Tensor, ...]] = []
        if rows <= FEW_ROWS:  # one product for all steps
            flat = seen.reshape(1, count * rows, -1).expand(k, -1, -1)
            ahead = [one.view(k, count, rows, -1).unbind(1) for one in self._given(0, flat)]
        for step in range(count):
            # For many rows, a product a step keeps what is worked on in cache.
            given = (ahead[0][step], ahead[1][step]) if ahead else self._given(0, seen[step].expand(k, -1, -1))
            for layer, state in enumerate(states):
                if layer:
                    given = self._given(layer, states[layer - 1])
                states[layer] = self._advance(layer, given, state, is_own=not ahead or layer > 0)
        return states[-1]

    def trained_states(self, steps: Tensor) -> Tensor:
        """Return what `last_states` does, with gradients for the weights: on a CPU by those written out."""
        if steps.device.type != "cpu" or torch.is_autocast_enabled("cpu") or steps.requires_grad:
            return self.last_states(steps)
        return last_states(self._seen(steps), self.layers)

    def _given(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a layer's inputs, [K, N, …], are to its gates: [K, N, 2H] and [K, N, H]."""
        weights = self.layers[layer]
        if layer == 0:
            return torch.bmm(x, weights.gates), torch.bmm(x, weights.new)
        gates = torch.baddbmm(weights.gates_bias, x, weights.gates)
        return gates, torch.baddbmm(weights.new_bias, x, weights.new)

    def _advance(self, layer: int, given: tuple[Tensor, Tensor], state: Tensor, *, is_own: bool) -> Tensor:
        """One GRU step of what `_given` returned, which is written to if `is_own`; h' = (1 − z)∘n + z∘h."""
        h, weights = state.shape[-1], self.layers[layer]
        add = given[0].baddbmm_ if is_own else given[0].baddbmm
        both = add(state, weights.hidden_gates).sigmoid_()
        recurrent = torch.baddbmm(weights.hidden_new_bias, state, weights.hidden_new)
        half = torch.addcmul(given[1], both[..., :h], recurrent).sigmoid_()
        return torch.lerp(torch.add(self.below, half, alpha=2), state, both[..., h:])

    def _seen(self, steps: Tensor) -> Tensor:
        """Return what the kernel sees at every step, and a 1, [T', N, k·F + 1]."""
        pad = (self.kernel - 1) // 2
        padded = nn.functional.pad(steps.transpose(0, 1), (0, 0, 0, 0, pad, pad))
        count = len(padded) - self.kernel + 1
        ones = padded.new_ones(count, padded.shape[1], 1)
        return torch.cat([*(padded[place : place + count] for place in range(self.kernel)), ones], dim=-1)


# ── foreign checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────

_KEYS = (
    r"encoder\.cnn_encoder\.conv\.(weight|bias)"
    r"|encoder\.krnn_encoder\.rnn_modules\.\d+\.(weight|bias)_(ih|hh)_l\d+"
    r"|out_fc\.(weight|bias)|node_weights\.weight"
)


def configuration_of(weights: Mapping[str, Tensor], layout: Layout, pool: Pool = "last") -> KRNNConfiguration:
    """Return the sizes that a state dict of qlib's KRNN (or ours) has; the number of steps is not in it.

    Args:
        layout, pool: how the rows were laid out that it was trained on, and what was read of its recurrent networks:
            neither can be told from the weights.
    Raises:
        PluginError: it is not the state dict of a KRNN.
    """
    foreign = [name for name in weights if not re.fullmatch(_KEYS, name)]
    needed = ("encoder.cnn_encoder.conv.weight", "encoder.krnn_encoder.rnn_modules.0.weight_hh_l0", "out_fc.weight")
    missing = [name for name in needed if name not in weights]
    if foreign or missing:
        what = f"it has {foreign[0]!r}" if foreign else f"it has no {missing[0]!r}"
        raise PluginError(f"not the state dict of a KRNN: {what}")
    channels, fields, kernel = weights[needed[0]].shape
    numbers = [re.search(r"rnn_modules\.(\d+)\.weight_hh_l(\d+)", name) for name in weights]
    found = [(int(match[1]), int(match[2])) for match in numbers if match]
    nodes = weights.get("node_weights.weight")
    return KRNNConfiguration(
        fields,
        channels,
        kernel,
        weights[needed[1]].shape[1],
        max(found)[0] + 1,
        max(layer for _, layer in found) + 1,
        layout=layout,
        agg="mean" if nodes is None else "node",
        pool=pool,
        nodes=0 if nodes is None else len(nodes),
    )


def load_krnn(weights: Mapping[str, Tensor], layout: Layout, pool: Pool = "last") -> KRNN:
    """Return the network of a state dict, in eval mode.

    Raises:
        PluginError: it is not the state dict of a KRNN.
    """
    network = KRNN(configuration_of(weights, layout, pool))
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as exc:
        raise PluginError(f"krnn: the state dict does not fit its own sizes: {' '.join(str(exc).split())}") from exc
    return network.eval()


def card_configuration(of: KRNNConfiguration) -> dict[str, Any]:
    """Return a configuration as an artefact's card has it."""
    return asdict(of)
