"""Variable selection with everything folded that can be: reals from their scalars, categoricals from tables.

What a categorical contributes depends on its code alone, so it is worked out for every code ahead of time. Only groups,
whose embeddings are added up, go through their network.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.tft.configuration import TFTConfiguration
from models.tft.folding import Affine, FoldedReals, Norm, linear, resampled, wide
from models.tft.layers import GatedResidualNetwork
from models.tft.selection import Embeddings, VariableSelection

CHUNK = 192
"""Rows at a time on a CPU: what is worked on stays in cache (measured: flat from 96 to 384, slower beyond)."""

CHUNK_ELSEWHERE = 16_384
"""Rows at a time on a GPU, for which small pieces are waste."""


@dataclass(frozen=True)
class _Table:
    """A categorical of which everything is known for every code."""

    column: int
    of_scores: Tensor | None
    """[categories, K + V]; None where nothing is weighed."""
    of_selection: Tensor
    """[categories, H]"""

    def look(self, codes: Tensor) -> Tensor:
        return codes[:, self.column]

    def scores(self, seen: Tensor) -> Tensor:
        assert self.of_scores is not None
        return self.of_scores[seen]

    def said(self, seen: Tensor) -> Tensor:
        return self.of_selection[seen]


@dataclass(frozen=True)
class _Group:
    """A group: its embeddings are added up, and the sum goes through its network."""

    name: str
    embeddings: Embeddings
    network: nn.Module
    of_scores: Tensor | None
    """[width, K + V]; None where nothing is weighed."""

    def look(self, codes: Tensor) -> Tensor:
        return self.embeddings.of(self.name, codes)

    def scores(self, seen: Tensor) -> Tensor:
        assert self.of_scores is not None
        return seen @ self.of_scores

    def said(self, seen: Tensor) -> Tensor:
        out: Tensor = self.network(seen)
        return out


class FoldedSelection:
    """`VariableSelection` of one past or horizon."""

    def __init__(self, selection: VariableSelection, of: TFTConfiguration, embeddings: Embeddings) -> None:
        self._hidden = of.hidden_size
        self._count = len(selection.variables)
        self._scores = None if selection.flattened_grn is None else _Scores(selection, of)
        reals = [name for name in selection.variables if name not in of.embedding_sizes]
        self._columns = [of.x_reals.index(name) for name in reals]
        self._reals = FoldedReals.of(*_networks_and_prescalers(selection, reals)) if reals else None
        self._categoricals = [
            self._fold(name, selection.single_variable_grns[name], of, embeddings)
            for name in selection.variables
            if name in of.embedding_sizes
        ]

    def _fold(self, name: str, network: nn.Module, of: TFTConfiguration, embeddings: Embeddings) -> _Table | _Group:
        still = copy.deepcopy(network).eval()
        if name in of.categorical_groups:
            of_scores = None if self._scores is None else self._scores.of_embedding(name)
            return _Group(name, copy.deepcopy(embeddings).eval(), still, of_scores)
        table = embeddings.table(name)
        of_scores = None if self._scores is None else self._scores.of_embedding(name, table)
        with torch.no_grad():
            return _Table(of.code_columns(name)[0], of_scores, still(table))

    def __call__(self, cont: Tensor, cat: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the selection [B, T, H] and its weights [B, T, 1, V].

        Args:
            cont: [B, T, columns]; cat: int64 [B, T, columns]; context: [B, K], already projected.
        """
        rows, steps = cont.shape[:2]
        if not self._count:
            return cont.new_zeros(rows, steps, self._hidden), cont.new_zeros(rows, steps, 1, 0)
        x = self._of_columns(cont).reshape(rows * steps, -1)
        codes = cat.reshape(rows * steps, -1)
        seen = [one.look(codes) for one in self._categoricals]
        if self._scores is None:
            out = self._categoricals[0].said(seen[0]) if seen else self._sum(x, None)
            return out.view(rows, steps, -1), out.new_ones(rows, steps, 1, 1)
        pre = self._scores.of_reals(x)
        for one, of_codes in zip(self._categoricals, seen, strict=True):
            pre += one.scores(of_codes)
        weights = self._scores.finish(pre.view(rows, steps, -1), context).reshape(rows * steps, -1)
        out = self._sum(x, weights[:, len(seen) :])
        for place, (one, of_codes) in enumerate(zip(self._categoricals, seen, strict=True)):
            out.addcmul_(one.said(of_codes), weights[:, place, None])
        return out.view(rows, steps, -1), weights.view(rows, steps, 1, -1)

    def _of_columns(self, cont: Tensor) -> Tensor:
        first, count = (self._columns or [0])[0], len(self._columns)
        if self._columns == list(range(first, first + count)):
            return cont[..., first : first + count]
        return cont[..., self._columns]

    def _sum(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted sum of what the reals say, [N, H]; a single one needs no weight."""
        reals = self._reals
        if reals is None:
            return x.new_zeros(len(x), self._hidden)
        chunk = CHUNK if x.device.type == "cpu" else CHUNK_ELSEWHERE
        pieces = [slice(at, at + chunk) for at in range(0, len(x), chunk)]
        return torch.cat([reals(x[rows], None if weights is None else weights[rows]) for rows in pieces])


class _Scores:
    """The network that weighs the variables, folded down to its V inputs.

    Its first layer and the resampling of its skip are linear in all variables together: one product gives both.
    """

    def __init__(self, selection: VariableSelection, of: TFTConfiguration) -> None:
        network = selection.flattened_grn
        assert network is not None
        widths = {name: of.width(name) for name in selection.variables}
        total = sum(widths.values())
        eye = torch.eye(total).double()
        resample = network.resample_norm
        skip = eye if resample is None else resampled(resample, eye)
        both = torch.cat([wide(network.fc1.weight).T, skip], dim=1)  # [Σ widths, K + V]
        blocks = dict(zip(widths, torch.split(both, list(widths.values())), strict=True))
        self._like = network.fc1.weight
        self._blocks = {name: block for name, block in blocks.items() if name in of.embedding_sizes}
        self.hidden = network.fc1.out_features
        bias = torch.cat([wide(network.fc1.bias), torch.zeros(skip.shape[1]).double()])
        rows = []
        for name in selection.prescalers:
            prescaler = linear(selection.prescalers[name])
            rows.append(wide(prescaler.weight)[:, 0] @ blocks[name])
            bias = bias + wide(prescaler.bias) @ blocks[name]
        weight = torch.stack(rows) if rows else both.new_zeros(0, both.shape[1])
        self.of_reals = Affine(weight, bias).like(self._like)
        self._gate = Affine.of(network.fc2, network.gate_norm.glu.fc).like(self._like)
        self._skip_norm = None if resample is None else Norm.of(resample.norm)
        self._norm = Norm.of(network.gate_norm.add_norm.norm)

    def of_embedding(self, name: str, table: Tensor | None = None) -> Tensor:
        """Return what each row of a table adds; without a table, the matrix that does it."""
        block = self._blocks[name]
        return (block if table is None else wide(table) @ block).to(self._like)

    def finish(self, pre: Tensor, context: Tensor) -> Tensor:
        """Return the weights [B, T, V] of what the first product gave [B, T, K + V], and the context [B, K]."""
        hidden = F.elu_(pre[..., : self.hidden] + context[:, None])
        skip = pre[..., self.hidden :]
        if self._skip_norm is not None:
            skip = self._skip_norm(skip)
        return self._norm(F.glu(self._gate(hidden), dim=-1).add_(skip)).softmax(dim=-1)


def _networks_and_prescalers(
    selection: VariableSelection, reals: list[str]
) -> tuple[list[GatedResidualNetwork], list[nn.Linear]]:
    networks = []
    for name in reals:
        network = selection.single_variable_grns[name]
        assert isinstance(network, GatedResidualNetwork)
        networks.append(network)
    return networks, [linear(selection.prescalers[name]) for name in reals]
