"""The temporal fusion transformer: variables are chosen step by step, run through an LSTM over past and horizon,
enriched by what is static, and each step ahead attends to all that came before it.

Source: Lim, Arik, Loeff and Pfister 2019, arXiv 1912.09363. Weights bear pytorch-forecasting's names (v1), so that its
state dicts load as they are.

Notation: B windows, T steps of the past, D steps ahead, V variables, H hidden size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.tft.attention import InterpretableAttention, hidden_steps
from models.tft.configuration import TFTConfiguration
from models.tft.layers import AddNorm, GateAddNorm, GatedLinearUnit, GatedResidualNetwork
from models.tft.running import State, run_lstm
from models.tft.selection import Embeddings, VariableSelection, single_variable_network
from models.tft.tensors import TFTInputs, TFTOutput


class TFT(nn.Module):
    """The network, for training, and to hold the fast form of it (`models.tft.fused`) against."""

    def __init__(self, configuration: TFTConfiguration) -> None:
        super().__init__()
        self.configuration = of = configuration
        h, dropout = of.hidden_size, of.dropout

        def residual(context: int | None = None) -> GatedResidualNetwork:
            return GatedResidualNetwork(h, h, h, dropout, context)

        def recurrent() -> nn.LSTM:
            between = dropout if of.lstm_layers > 1 else 0.0
            return nn.LSTM(h, h, of.lstm_layers, dropout=between, batch_first=True)

        self.input_embeddings = Embeddings(of)
        self.prescalers = nn.ModuleDict({name: nn.Linear(1, of.width(name)) for name in of.reals})
        shared = None
        if of.share_single_variable_networks:
            in_time = dict.fromkeys((*of.encoder_variables, *of.decoder_variables))
            shared = nn.ModuleDict({name: single_variable_network(of, name, shared=True) for name in in_time})
            self.shared_single_variable_grns = shared
        self.static_variable_selection = VariableSelection(of, of.static_variables, self.prescalers)
        self.encoder_variable_selection = VariableSelection(of, of.encoder_variables, self.prescalers, h, shared)
        self.decoder_variable_selection = VariableSelection(of, of.decoder_variables, self.prescalers, h, shared)
        self.static_context_variable_selection = residual()
        self.static_context_initial_hidden_lstm = residual()
        self.static_context_initial_cell_lstm = residual()
        self.static_context_enrichment = residual()
        self.lstm_encoder = recurrent()
        self.lstm_decoder = recurrent()
        # Encoder and decoder have one gate and one norm, under two names.
        self.post_lstm_gate_encoder = self.post_lstm_gate_decoder = GatedLinearUnit(h, dropout=dropout)
        self.post_lstm_add_norm_encoder = self.post_lstm_add_norm_decoder = AddNorm(h)
        self.static_enrichment = residual(h)
        self.multihead_attn = InterpretableAttention(h, of.attention_head_size, dropout, of.mask_bias)
        self.post_attn_gate_norm = GateAddNorm(h, dropout=dropout)
        self.pos_wise_ff = residual()
        self.pre_output_gate_norm = GateAddNorm(h)
        heads = [nn.Linear(h, size) for size in of.output_size]
        self.output_layer: nn.Module = nn.ModuleList(heads) if len(heads) > 1 else heads[0]

    @property
    def output_layers(self) -> Sequence[nn.Module]:
        """The last layer of each target."""
        return list(self.output_layer) if isinstance(self.output_layer, nn.ModuleList) else [self.output_layer]

    @property
    def selections(self) -> tuple[VariableSelection, VariableSelection]:
        """Of the past and of the horizon."""
        return self.encoder_variable_selection, self.decoder_variable_selection

    def forward(self, inputs: TFTInputs) -> TFTOutput:
        """Return raw outputs, attention and weights of variables.

        Raises:
            PluginError: the inputs do not fit the configuration.
        """
        of = self.configuration
        inputs.check(of)
        past, ahead = inputs.encoder_cont.shape[1], inputs.decoder_cont.shape[1]
        lengths = inputs.lengths
        static, static_weights = self.static_embedding(inputs)

        context = self.static_context_variable_selection(static)
        chosen_past, past_weights = self.encoder_variable_selection(
            self._variables(of.encoder_variables, inputs.encoder_cont, inputs.encoder_cat),
            context[:, None].expand(-1, past, -1),
        )
        chosen_ahead, ahead_weights = self.decoder_variable_selection(
            self._variables(of.decoder_variables, inputs.decoder_cont, inputs.decoder_cat),
            context[:, None].expand(-1, ahead, -1),
        )

        states = self._first_state(static)
        seen, states = run_lstm(self.lstm_encoder, chosen_past, states, lengths[0])
        foreseen, _ = run_lstm(self.lstm_decoder, chosen_ahead, states, lengths[1])
        local = torch.cat(
            [
                self.post_lstm_add_norm_encoder(self.post_lstm_gate_encoder(seen), chosen_past),
                self.post_lstm_add_norm_decoder(self.post_lstm_gate_decoder(foreseen), chosen_ahead),
            ],
            dim=1,
        )  # [B, T + D, H]

        enrichment = self.static_context_enrichment(static)[:, None].expand(-1, past + ahead, -1)
        enriched = self.static_enrichment(local, enrichment)
        attended, attention = self.multihead_attn(
            enriched[:, past:],
            enriched,
            hidden_steps(*lengths, past, ahead, causal=of.causal_attention),
        )
        attended = self.post_attn_gate_norm(attended, enriched[:, past:])
        out = self.pre_output_gate_norm(self.pos_wise_ff(attended), local[:, past:])
        return TFTOutput(
            raw=tuple(layer(out) for layer in self.output_layers),
            encoder_attention=attention[..., :past],
            decoder_attention=attention[..., past:],
            static_variables=static_weights,
            encoder_variables=past_weights,
            decoder_variables=ahead_weights,
        )

    def _variables(self, names: Sequence[str], cont: Tensor, cat: Tensor) -> dict[str, Tensor]:
        """Return variables by name: reals […, 1], embeddings […, width]."""
        of = self.configuration
        return {
            name: self.input_embeddings.of(name, cat)
            if name in of.embedding_sizes
            else cont[..., of.x_reals.index(name), None]
            for name in names
        }

    def static_embedding(self, inputs: TFTInputs) -> tuple[Tensor, Tensor]:
        """Return the static embedding [B, H] and its weights; static variables are read at the first step."""
        names = self.configuration.static_variables
        cont = inputs.encoder_cont
        if not names:
            return cont.new_zeros(len(cont), self.configuration.hidden_size), cont.new_zeros(len(cont), 0)
        variables = self._variables(names, cont[:, 0], inputs.encoder_cat[:, 0])
        out: tuple[Tensor, Tensor] = self.static_variable_selection(variables, cont[:, 0])
        return out

    def _first_state(self, static: Tensor) -> State:
        layers = self.configuration.lstm_layers
        hidden = self.static_context_initial_hidden_lstm(static).expand(layers, -1, -1)
        cell = self.static_context_initial_cell_lstm(static).expand(layers, -1, -1)
        return hidden.contiguous(), cell.contiguous()
