"""Sizes of Kronos' two networks, as their config.json has them, and those that were published."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from engine.errors import PluginError, nearest_name

DEPENDENCY_HEADS = 4
"""Heads of the layer that ties the second half of a token to the first; no configuration has them."""


class _FromMapping:
    @classmethod
    def of(cls, content: Mapping[str, Any], where: str = "config.json") -> Self:
        """Return the sizes in a config.json.

        Raises:
            PluginError: a size is missing, unknown, or cannot be.
        """
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        for name in content:
            if name not in known:
                raise PluginError(f"{where} has an unknown {name!r}{nearest_name(name, sorted(known))}")
        missing = [field.name for field in fields(cls) if field.name not in content]  # type: ignore[arg-type]
        if missing:
            raise PluginError(f"{where} has no {', '.join(missing)}; expected the sizes of a {cls.__name__}")
        return cls(**content)


@dataclass(frozen=True)
class TokenizerSizes(_FromMapping):
    """Of KronosTokenizer. The encoder and the decoder have one block fewer than their counts say.

    `beta`, `gamma0`, `gamma`, `zeta` weigh the parts of the quantiser's loss; `group_size` is the length of a buffer in
    the files and decides nothing else.
    """

    d_in: int
    d_model: int
    n_heads: int
    ff_dim: int
    n_enc_layers: int
    n_dec_layers: int
    ffn_dropout_p: float
    attn_dropout_p: float
    resid_dropout_p: float
    s1_bits: int
    s2_bits: int
    beta: float
    gamma0: float
    gamma: float
    zeta: float
    group_size: int

    def __post_init__(self) -> None:
        _check_attention("tokenizer", self.d_model, self.n_heads)
        for name in ("d_in", "ff_dim", "n_enc_layers", "n_dec_layers", "s1_bits", "s2_bits", "group_size"):
            _check_count("tokenizer", name, getattr(self, name))
        if self.bits % self.group_size:
            raise PluginError(
                f"kronos tokenizer: group_size is {self.group_size}; expected a divisor of its {self.bits} bits"
            )

    @property
    def bits(self) -> int:
        return self.s1_bits + self.s2_bits


@dataclass(frozen=True)
class ModelSizes(_FromMapping):
    """Of Kronos, the predictor. `learn_te`: whether calendar embeddings are trained (else fixed sinusoids)."""

    s1_bits: int
    s2_bits: int
    n_layers: int
    d_model: int
    n_heads: int
    ff_dim: int
    ffn_dropout_p: float
    attn_dropout_p: float
    resid_dropout_p: float
    token_dropout_p: float
    learn_te: bool

    def __post_init__(self) -> None:
        _check_attention("model", self.d_model, self.n_heads)
        for name in ("n_layers", "ff_dim", "s1_bits", "s2_bits"):
            _check_count("model", name, getattr(self, name))
        if self.d_model % (2 * DEPENDENCY_HEADS):
            raise PluginError(f"kronos model: d_model is {self.d_model}; expected a multiple of {2 * DEPENDENCY_HEADS}")


def _check_attention(what: str, size: int, heads: int) -> None:
    _check_count(what, "d_model", size)
    _check_count(what, "n_heads", heads)
    if size % heads or size // heads % 2:
        raise PluginError(f"kronos {what}: d_model {size} over {heads} heads; expected heads of an even whole size")


def _check_count(what: str, name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PluginError(f"kronos {what}: {name} is {value!r}; expected a whole number of 1 or more")


def _tokenizer(group_size: int) -> TokenizerSizes:
    return TokenizerSizes(6, 256, 4, 512, 4, 4, 0.0, 0.0, 0.0, 10, 10, 0.05, 1.0, 1.1, 0.05, group_size)


TOKENIZERS = {"base": _tokenizer(4), "2k": _tokenizer(5)}
"""NeoQuasar/Kronos-Tokenizer-base and -2k (the latter for mini alone)."""

MODELS = {
    "mini": ModelSizes(10, 10, 4, 256, 4, 512, 0.2, 0.0, 0.2, 0.0, True),
    "small": ModelSizes(10, 10, 8, 512, 8, 1024, 0.25, 0.1, 0.25, 0.1, True),
    "base": ModelSizes(10, 10, 12, 832, 16, 2048, 0.2, 0.0, 0.2, 0.0, True),
    "large": ModelSizes(10, 10, 18, 1664, 32, 3072, 0.2, 0.0, 0.2, 0.0, True),
}
"""NeoQuasar/Kronos-mini, -small, -base; large was never published."""

MAX_CONTEXT = {"mini": 2048, "small": 512, "base": 512, "large": 512}
"""Tokens that each was trained to see; no config.json says it."""
