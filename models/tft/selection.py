"""Variables of the temporal fusion transformer: embedding them, and choosing among them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.tft.configuration import TFTConfiguration
from models.tft.layers import GatedResidualNetwork, ResampleNorm


class Embeddings(nn.Module):
    """Tables of the categoricals; a group's codes are looked up in one table and added up."""

    def __init__(self, of: TFTConfiguration) -> None:
        super().__init__()
        self._columns = {name: of.code_columns(name) for name in of.categoricals}
        self.embeddings = nn.ModuleDict()
        for name, (categories, width) in of.embedding_sizes.items():
            if name in of.categorical_groups:
                self.embeddings[name] = nn.EmbeddingBag(categories, width, mode="sum")
            else:
                padding = 0 if name in of.embedding_paddings else None
                self.embeddings[name] = nn.Embedding(categories, width, padding_idx=padding)

    def forward(self, codes: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the embeddings of `names`, each […, width], of codes […, C]."""
        return {name: self.of(name, codes) for name in names}

    def table(self, name: str) -> Tensor:
        """Return a categorical's weights, [categories, width]."""
        table = self.embeddings[name]
        assert isinstance(table, nn.Embedding | nn.EmbeddingBag)
        return table.weight.detach()

    def of(self, name: str, codes: Tensor) -> Tensor:
        """Return one categorical's embedding, […, width], of codes […, C]."""
        table, columns = self.embeddings[name], self._columns[name]
        if isinstance(table, nn.EmbeddingBag):
            bags = codes[..., columns]
            out: Tensor = table(bags.reshape(-1, len(columns))).view(*bags.shape[:-1], -1)
            return out
        found: Tensor = table(codes[..., columns[0]])
        return found


class VariableSelection(nn.Module):
    """A weighted sum of variables, each through a network of its own; the weights are a softmax over the variables.

    Reals are made wide by a linear layer of one input, which encoder, decoder and static variables share by name.
    Categoricals are only resampled, unless networks are shared. A single variable has weight 1, no variable gives 0.

    Args:
        variables: names, categoricals first.
        context_size: of the static context; None for the static variables themselves.
        prescalers: of all reals; shared: networks shared by encoder and decoder, if they are.
    """

    def __init__(
        self,
        of: TFTConfiguration,
        variables: Sequence[str],
        prescalers: nn.ModuleDict,
        context_size: int | None = None,
        shared: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__()
        self.variables = tuple(variables)
        self.hidden_size = of.hidden_size
        widths = {name: of.width(name) for name in variables}
        count = len(self.variables)
        self.flattened_grn = (
            GatedResidualNetwork(sum(widths.values()), min(of.hidden_size, count), count, of.dropout, context_size)
            if count > 1
            else None
        )
        self.single_variable_grns = nn.ModuleDict()
        self.prescalers = nn.ModuleDict()
        for name in widths:
            self.single_variable_grns[name] = single_variable_network(of, name) if shared is None else shared[name]
            if name in prescalers:
                self.prescalers[name] = prescalers[name]

    def forward(self, x: Mapping[str, Tensor], context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the selection […, H] and its weights […, 1, V].

        Args:
            x: reals […, 1] and embeddings […, width] by name. context: […, context_size]; its leading axes count where
                there are no variables.
        """
        if not self.variables:
            return context.new_zeros(*context.shape[:-1], self.hidden_size), context.new_zeros(
                *context.shape[:-1], 1, 0
            )
        wide = [self.prescalers[name](x[name]) if name in self.prescalers else x[name] for name in self.variables]
        single = [self._single(name, x[name], one) for name, one in zip(self.variables, wide, strict=True)]
        if self.flattened_grn is None:
            return single[0], single[0].new_ones(*single[0].shape[:-1], 1, 1)
        scores = self.flattened_grn(torch.cat(wide, dim=-1), context)
        weights = scores.softmax(dim=-1).unsqueeze(-2)  # […, 1, V]
        chosen = single[0] * weights[..., 0, :1]
        for place in range(1, len(single)):  # their stack would be the largest tensor of all, and be read four times
            chosen = torch.addcmul(chosen, single[place], weights[..., 0, place : place + 1])
        return chosen, weights

    def _single(self, name: str, x: Tensor, wide: Tensor) -> Tensor:
        """Return one variable through its network.

        Of a real, the prescaler and what stretches its result into a skip are linear, and the real one number: their
        product with a vector, worked out once, is all that its rows need.
        """
        network = self.single_variable_grns[name]
        # In eval mode numbers are rounded where the origin's are: what is trained need not be.
        if not self.training or name not in self.prescalers or not isinstance(network, GatedResidualNetwork):
            out: Tensor = network(wide)
            return out
        resample, scaler = network.resample_norm, self.prescalers[name]
        if resample is None:
            return network.beside(wide, wide)
        assert isinstance(scaler, nn.Linear)
        stretched = torch.addcmul(resample.before_norm(scaler.bias), x, resample.before_norm(scaler.weight[:, 0]))
        return network.beside(wide, resample.norm(stretched))


def single_variable_network(of: TFTConfiguration, name: str, *, shared: bool = False) -> nn.Module:
    """Return the network of one variable, its width → H. A shared one is gated for categoricals too."""
    width = of.width(name)
    if name in of.embedding_sizes and not shared:
        return ResampleNorm(width, of.hidden_size)
    return GatedResidualNetwork(width, min(width, of.hidden_size), of.hidden_size, of.dropout)
