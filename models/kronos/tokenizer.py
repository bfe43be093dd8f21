"""KronosTokenizer: bars to tokens and back. A token is two whole numbers, a coarse one (s1) and a fine one (s2).

Source: shiyu-coder/Kronos; quantiser: binary spherical quantisation, Zhao et al. 2024, arXiv 2406.07548.

Notation: N series, T bars, d_in fields (open, high, low, close, volume, amount, normalised), D bits = s1_bits +
s2_bits.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.kronos.configuration import TokenizerSizes
from models.kronos.layers import Block

_TINY = 1e-8


class QuantiserLoss(NamedTuple):
    """The quantiser's loss and its parts, scalars; `probabilities` [D, 2]: mean chance of each bit to be 1 and 0."""

    loss: Tensor
    commitment: Tensor
    per_sample_entropy: Tensor
    codebook_entropy: Tensor
    probabilities: Tensor


class Reconstruction(NamedTuple):
    """What training looks at: the bars rebuilt from s1 alone and from all bits, [N, T, d_in]; the quantiser's loss; the
    quantised bits [N, T, D]; the tokens as one number, int64 [N, T]."""

    coarse: Tensor
    fine: Tensor
    quantiser: QuantiserLoss
    quantised: Tensor
    indices: Tensor


class _Quantiser(nn.Module):
    """Buffers of the original's files; they follow from the sizes."""

    def __init__(self, bits: int, group_size: int) -> None:
        super().__init__()
        self.register_buffer("basis", 2 ** torch.arange(bits - 1, -1, -1))
        self.register_buffer("group_basis", 2 ** torch.arange(group_size - 1, -1, -1))


class _QuantiserHolder(nn.Module):
    def __init__(self, bits: int, group_size: int) -> None:
        super().__init__()
        self.bsq = _Quantiser(bits, group_size)


class KronosTokenizer(nn.Module):
    """Encoder, quantiser, decoder. Everything is causal: token t depends on bars ≤ t."""

    def __init__(self, sizes: TokenizerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        d, bits = sizes.d_model, sizes.bits

        def blocks(count: int) -> nn.ModuleList:
            dropouts = (sizes.ffn_dropout_p, sizes.attn_dropout_p, sizes.resid_dropout_p)
            return nn.ModuleList(Block(d, sizes.n_heads, sizes.ff_dim, *dropouts) for _ in range(count - 1))

        self.embed = nn.Linear(sizes.d_in, d)
        self.head = nn.Linear(d, sizes.d_in)
        self.encoder = blocks(sizes.n_enc_layers)
        self.decoder = blocks(sizes.n_dec_layers)
        self.quant_embed = nn.Linear(d, bits)
        self.post_quant_embed_pre = nn.Linear(sizes.s1_bits, d)
        self.post_quant_embed = nn.Linear(bits, d)
        self.tokenizer = _QuantiserHolder(bits, sizes.group_size)

    # ── to tokens ───────────────────────────────────────────────────────────────────────────────────────────────────

    def before_quantising(self, x: Tensor) -> Tensor:
        """[N, T, d_in] → [N, T, D], the numbers whose signs are the bits."""
        z = self.embed(x)
        for block in self.encoder:
            z = block(z)
        out: Tensor = self.quant_embed(z)
        return out

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens s1 and s2 of normalised bars [N, T, d_in], int64 [N, T] each."""
        is_one = self.before_quantising(x) > 0  # a vector's length does not change its signs
        return self._join(is_one)

    def _join(self, is_one: Tensor) -> tuple[Tensor, Tensor]:
        """[…, D] → s1, s2; the first bit of each is its lowest."""
        first, second = is_one[..., : self.sizes.s1_bits], is_one[..., self.sizes.s1_bits :]
        return _number(first), _number(second)

    def joined(self, s1: Tensor, s2: Tensor) -> Tensor:
        """Return the tokens as one number each: s1 + s2 · 2^s1_bits."""
        return s1 + (s2 << self.sizes.s1_bits)

    # ── from tokens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def bits_of(self, s1: Tensor, s2: Tensor) -> Tensor:
        """Return the quantised bits, ± 1/√D, float [N, T, D]."""
        places = torch.cat(
            [
                (s1[..., None] >> _places(self.sizes.s1_bits, s1)) & 1,
                (s2[..., None] >> _places(self.sizes.s2_bits, s2)) & 1,
            ],
            dim=-1,
        )
        scale = self.sizes.bits**-0.5
        return (places.to(self.head.weight.dtype) * 2 - 1) * scale

    def decode(self, s1: Tensor, s2: Tensor) -> Tensor:
        """Return the normalised bars of tokens int64 [N, T], float [N, T, d_in]; bar t depends on tokens ≤ t."""
        return self.decode_bits(self.bits_of(s1, s2))

    def decode_bits(self, quantised: Tensor) -> Tensor:
        """[N, T, D] → [N, T, d_in]"""
        return self._decoded(self.post_quant_embed(quantised))

    def _decoded(self, z: Tensor) -> Tensor:
        for block in self.decoder:
            z = block(z)
        out: Tensor = self.head(z)
        return out

    # ── training ────────────────────────────────────────────────────────────────────────────────────────────────────

    def forward(self, x: Tensor, probabilities: Tensor | None = None) -> Reconstruction:
        """Return what training looks at, for normalised bars [N, T, d_in].

        Args:
            probabilities: [D, 2], mean chances of a batch of which x is a part; of x if left out.
        """
        unit = self._unit(x)
        signs = torch.where(unit > 0, 1.0, -1.0).to(unit)
        scale = self.sizes.bits**-0.5
        # Straight through: the value of the signs, the gradient of the numbers.
        quantised = (unit + (signs - unit).detach()) * scale
        coarse = self._decoded(self.post_quant_embed_pre(quantised[..., : self.sizes.s1_bits]))
        indices = self.joined(*self._join(unit > 0))
        return Reconstruction(
            coarse, self.decode_bits(quantised), self.quantiser_loss(unit, signs * scale, probabilities), quantised,
            indices,
        )

    def _unit(self, x: Tensor) -> Tensor:
        z = self.before_quantising(x)
        return z / z.norm(dim=-1, keepdim=True).clamp_min(1e-12)

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the mean chance of each bit to be 1 and 0, [D, 2], over normalised bars [N, T, d_in]."""
        return self._chances(self._unit(x)).mean((0, 1))

    def _chances(self, unit: Tensor) -> Tensor:
        chance = torch.sigmoid(-4 * unit * self.sizes.bits**-0.5)
        return torch.stack([chance, 1 - chance], dim=-1)

    def quantiser_loss(
        self, unit: Tensor, quantised: Tensor, probabilities: Tensor | None = None
    ) -> QuantiserLoss:
        """Return the loss of unit vectors [N, T, D] and their quantised bits: commitment, decided bits for each bar,
        and all bits in use over the batch, or over one whose mean probabilities [D, 2] are given. The gradients of its
        parts, weighed by their rows, then add up to that of the whole."""
        sizes = self.sizes
        commitment = ((quantised.detach() - unit) ** 2).sum(-1).mean()
        both = self._chances(unit)
        per_sample = -(both * torch.log(both + _TINY)).sum((-1, -2)).mean()
        average = both.mean((0, 1))
        if probabilities is not None:
            average = average + (probabilities - average).detach()
        codebook = -(average * torch.log(average + _TINY)).sum()
        loss = sizes.beta * commitment + sizes.zeta * (sizes.gamma0 * per_sample - sizes.gamma * codebook)
        return QuantiserLoss(loss, commitment, per_sample, codebook, average)


def training_loss(of: Reconstruction, x: Tensor) -> Tensor:
    """Return (MSE of the coarse + MSE of the fine reconstruction + the quantiser's loss) / 2."""
    coarse = nn.functional.mse_loss(of.coarse, x)
    fine = nn.functional.mse_loss(of.fine, x)
    return (coarse + fine + of.quantiser.loss) / 2


def _places(bits: int, like: Tensor) -> Tensor:
    return torch.arange(bits, device=like.device)


def _number(is_one: Tensor) -> Tensor:
    return (is_one.long() << _places(is_one.shape[-1], is_one)).sum(-1)
