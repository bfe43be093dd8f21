"""The temporal fusion transformer without a graph: the numbers of the plain forward to 1e-6, several times as fast.

- Products of weights are multiplied out (`folding`), variable selection works from scalars (`folded_selection`).
- What is static is worked out once for each set of static values, and kept.
- Windows without padding go through the LSTM unpacked.
- Attention folds the keys' weights into the query and the values' into what follows: nothing is projected over T.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from models.tft.attention import InterpretableAttention, hidden_steps, lowest
from models.tft.folded_selection import FoldedSelection
from models.tft.folding import Affine, FoldedGate, FoldedResidual, linear, wide
from models.tft.layers import GatedResidualNetwork
from models.tft.network import TFT
from models.tft.running import run_lstm
from models.tft.tensors import TFTInputs, TFTOutput, concatenated

ROWS = 64
"""Windows at a time on a CPU; more are no faster (measured), and take memory."""

ROWS_ELSEWHERE = 1024
"""Windows at a time on a GPU."""

KEPT_STATIC = 4096
"""Sets of static values that are kept."""

FEW_ROWS = 8
"""Windows up to which kept static values are looked up one by one."""


@dataclass(frozen=True)
class _Static:
    """What follows from the static variables of B windows: contexts already projected for those who take them."""

    weights: Tensor
    """[B, 1, V], or [B, 0] without static variables."""
    of_encoder: Tensor
    of_decoder: Tensor
    enrichment: Tensor
    hidden: Tensor
    """[B, H]"""
    cell: Tensor

    def repeated(self, rows: int) -> "_Static":
        """Return one window's for so many."""
        return _Static(*(tensor.expand(rows, *tensor.shape[1:]) for tensor in vars(self).values()))


class FusedTFT:
    """See the module. Made from a network as it is now, in eval mode, on the device where it is; later changes of the
    network do not reach it. It keeps what is static between calls: one thread at a time.

    Args:
        kept_static: sets of static values that are kept at most, the least recently used going first.
    """

    def __init__(self, network: TFT, *, kept_static: int = KEPT_STATIC) -> None:
        self._most_kept = kept_static
        self.configuration = self._of = of = network.configuration
        self._network = net = copy.deepcopy(network).eval()
        net.requires_grad_(requires_grad=False)
        for lstm in (net.lstm_encoder, net.lstm_decoder):
            lstm.flatten_parameters()  # CUDA wants them in one piece; a copy is not
        self._encoder = FoldedSelection(net.encoder_variable_selection, of, net.input_embeddings)
        self._decoder = FoldedSelection(net.decoder_variable_selection, of, net.input_embeddings)
        self._post_lstm = FoldedGate.of(net.post_lstm_gate_encoder, net.post_lstm_add_norm_encoder.norm)
        self._enrichment = FoldedResidual.of(net.static_enrichment)
        self._attention = _FoldedAttention(net.multihead_attn)
        self._post_attention = FoldedGate.of_gate_norm(
            net.post_attn_gate_norm, net.multihead_attn.v_layer, net.multihead_attn.w_h
        )
        self._feed_forward = FoldedResidual.of(net.pos_wise_ff)
        self._pre_output = FoldedGate.of_gate_norm(net.pre_output_gate_norm)
        heads = [Affine.of(linear(layer)) for layer in net.output_layers]
        every = Affine(torch.cat([head.weight for head in heads], 1), torch.cat([head.bias for head in heads]))
        self._heads = every.like(net.static_enrichment.fc1.weight)
        self._kept: OrderedDict[tuple[float, ...], _Static] = OrderedDict()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._network.static_enrichment.fc1.weight.device

    @torch.inference_mode()
    def __call__(self, inputs: TFTInputs) -> TFTOutput:
        """Return what the plain forward returns in eval mode, to 1e-6, without a graph.

        Raises:
            PluginError: the inputs do not fit the configuration.
        """
        inputs.check(self._of)
        most = ROWS if self.device.type == "cpu" else ROWS_ELSEWHERE
        if len(inputs) <= most:
            return self._run(inputs)
        return concatenated([self._run(inputs.rows(slice(at, at + most))) for at in range(0, len(inputs), most)])

    def _run(self, inputs: TFTInputs) -> TFTOutput:
        past = inputs.encoder_cont.shape[1]
        static = self._static(inputs)
        chosen_past, past_weights = self._encoder(inputs.encoder_cont, inputs.encoder_cat, static.of_encoder)
        chosen_ahead, ahead_weights = self._decoder(inputs.decoder_cont, inputs.decoder_cat, static.of_decoder)

        layers = self._of.lstm_layers
        state = (
            static.hidden.expand(layers, -1, -1).contiguous(),
            static.cell.expand(layers, -1, -1).contiguous(),
        )
        seen, state = run_lstm(self._network.lstm_encoder, chosen_past, state, inputs.encoder_lengths)
        foreseen, _ = run_lstm(self._network.lstm_decoder, chosen_ahead, state, inputs.decoder_lengths)
        chosen = torch.cat([chosen_past, chosen_ahead], dim=1)
        local = self._post_lstm(torch.cat([seen, foreseen], dim=1), chosen)  # [B, T + D, H]

        enriched = self._enrichment(local, static.enrichment[:, None])
        pooled, attention = self._attention(enriched, past, self._hidden_steps(inputs))
        attended = self._post_attention(pooled, enriched[:, past:])
        out = self._heads(self._pre_output(self._feed_forward(attended), local[:, past:]))
        return TFTOutput(
            raw=torch.split(out, list(self._of.output_size), dim=-1),
            encoder_attention=attention[..., :past],
            decoder_attention=attention[..., past:],
            static_variables=static.weights,
            encoder_variables=past_weights,
            decoder_variables=ahead_weights,
        )

    def _hidden_steps(self, inputs: TFTInputs) -> Tensor | None:
        """Return which steps are not seen, None if there is none such."""
        past, ahead = inputs.encoder_cont.shape[1], inputs.decoder_cont.shape[1]
        nothing_padded = inputs.encoder_lengths is None and inputs.decoder_lengths is None
        if nothing_padded and not self._of.causal_attention:
            return None
        return hidden_steps(*inputs.lengths, past, ahead, causal=self._of.causal_attention)

    # ── static variables ────────────────────────────────────────────────────────────────────────────────────────────

    def _static(self, inputs: TFTInputs) -> _Static:
        rows = len(inputs)
        if not self._of.static_variables:
            return self._kept_static((), inputs.rows(slice(0, 1))).repeated(rows)
        if not 0 < rows <= FEW_ROWS:
            return self._static_of(inputs)
        reals = inputs.encoder_cont[:, 0].tolist()
        codes = inputs.encoder_cat[:, 0].tolist()
        places = [self._of.x_reals.index(name) for name in self._of.static_reals]
        columns = [column for name in self._of.static_categoricals for column in self._of.code_columns(name)]
        found = []
        for row, (numbers, code) in enumerate(zip(reals, codes, strict=True)):
            key = (*(numbers[place] for place in places), *(code[column] for column in columns))
            found.append(self._kept_static(key, inputs.rows(slice(row, row + 1))))
        if rows == 1:
            return found[0]
        return _Static(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in found), strict=True)))

    def _kept_static(self, key: tuple[float, ...], inputs: TFTInputs) -> _Static:
        kept = self._kept.pop(key, None) or self._static_of(inputs)
        self._kept[key] = kept
        if len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
        return kept

    def _static_of(self, inputs: TFTInputs) -> _Static:
        net = self._network
        static, weights = net.static_embedding(inputs)
        chooser = net.static_context_variable_selection(static)
        of_encoder, of_decoder = (_projected(part.flattened_grn, chooser) for part in net.selections)
        return _Static(
            weights,
            of_encoder,
            of_decoder,
            _projected(net.static_enrichment, net.static_context_enrichment(static)),
            net.static_context_initial_hidden_lstm(static),
            net.static_context_initial_cell_lstm(static),
        )


class _FoldedAttention:
    """Scores q·k with k's weights on q's side; the mean over heads of the weighted inputs, not yet projected."""

    def __init__(self, attention: InterpretableAttention) -> None:
        self._heads = len(attention.q_layers)
        self._mask_bias = attention.mask_bias
        scale = attention.head_size**-0.5
        weights, biases = [], []
        for query_layer, key_layer in zip(attention.q_layers, attention.k_layers, strict=True):
            to_query, to_key = linear(query_layer), linear(key_layer)
            # One column more for the keys' bias: the same for all keys, it matters only beside the mask's bias.
            key = torch.cat([wide(to_key.weight), wide(to_key.bias)[:, None]], dim=1) * scale  # [d, H + 1]
            weights.append(wide(to_query.weight).T @ key)
            biases.append(wide(to_query.bias) @ key)
        self._query = Affine(torch.cat(weights, 1), torch.cat(biases)).like(attention.v_layer.weight)

    def __call__(self, steps: Tensor, past: int, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mean over heads of the weighted steps [B, D, H], and the weights [B, D, heads, T + D].

        Args:
            steps: [B, T + D, H]; past: T; hidden: bool [B, D, T + D], True = may not be seen.
        """
        rows, every, size = steps.shape
        queries = self._query(steps[:, past:]).view(rows, -1, size + 1)  # [B, D · heads, H + 1]
        scores = torch.baddbmm(queries[..., size:], queries[..., :size], steps.transpose(1, 2))
        scores = scores.view(rows, -1, self._heads, every)
        if hidden is not None:
            scores = scores.masked_fill_(hidden[:, :, None], lowest(self._mask_bias, scores.dtype))
        weights = scores.softmax(dim=-1)
        return torch.bmm(weights.mean(dim=2), steps), weights


def _projected(network: GatedResidualNetwork | None, context: Tensor) -> Tensor:
    """Return a context as a gated residual network takes it; where there is no network, nothing."""
    if network is None or network.context is None:
        return context[:, :0]
    out: Tensor = network.context(context)
    return out
