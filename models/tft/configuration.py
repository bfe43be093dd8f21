"""What a temporal fusion transformer is made of; names are those of pytorch-forecasting's hyper-parameters (v1).

A variable is a real (a number) or a categorical (a code into an embedding). It is static (one value a window), or it
varies in time, and is then an input of the encoder (the past), of the decoder (known ahead), or of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from torch import nn

from engine.errors import PluginError, nearest_name

LARGEST_EMBEDDING = 100

_BEARER = nn.ModuleDict()

_LISTS = (
    "static_categoricals",
    "static_reals",
    "time_varying_categoricals_encoder",
    "time_varying_categoricals_decoder",
    "time_varying_reals_encoder",
    "time_varying_reals_decoder",
    "x_reals",
    "x_categoricals",
    "embedding_paddings",
)

_OF_TRAINING = frozenset(
    {
        "dataset_parameters",
        "embedding_labels",
        "learning_rate",
        "log_gradient_flow",
        "log_interval",
        "log_val_interval",
        "logging_metrics",
        "loss",
        "monotone_constraints",
        "optimizer",
        "optimizer_params",
        "output_transformer",
        "reduce_on_plateau_min_lr",
        "reduce_on_plateau_patience",
        "reduce_on_plateau_reduction",
        "weight_decay",
    }
)
"""Hyper-parameters of the origin that decide no number of a trained network; read and left alone."""


@dataclass(frozen=True)
class TFTConfiguration:
    """Sizes and inputs of the network.

    Args:
        hidden_size: H; lstm_layers; attention_head_size: how many heads; dropout: in training.
        output_size: numbers a step of each target: 1 for a point or a logit, Q for quantiles, C for classes.
        max_encoder_length: the longest past it was trained on; it scales `relative_time_idx`.
        x_reals, x_categoricals: names of the columns of the input tensors, in order; a group's members stand in
            x_categoricals, its own name does not.
        categorical_groups: a variable → categorical columns whose embeddings, from one table, are added up.
        hidden_continuous_size: how wide a real is made; hidden_continuous_sizes: for single reals otherwise.
        embedding_sizes: categories and width of each table; the width is at most H.
        embedding_paddings: categoricals whose code 0 means "none" and is not trained.
        share_single_variable_networks: encoder and decoder treat a variable with the same weights.
        causal_attention: a step ahead attends to steps strictly before it; else to all steps ahead.
        mask_bias: what a hidden score becomes before the softmax.
    Raises:
        PluginError: a value that cannot be, or names that do not fit each other.
    """

    hidden_size: int = 16
    lstm_layers: int = 1
    dropout: float = 0.1
    output_size: tuple[int, ...] = (7,)
    attention_head_size: int = 4
    max_encoder_length: int = 10
    static_categoricals: tuple[str, ...] = ()
    static_reals: tuple[str, ...] = ()
    time_varying_categoricals_encoder: tuple[str, ...] = ()
    time_varying_categoricals_decoder: tuple[str, ...] = ()
    categorical_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    time_varying_reals_encoder: tuple[str, ...] = ()
    time_varying_reals_decoder: tuple[str, ...] = ()
    x_reals: tuple[str, ...] = ()
    x_categoricals: tuple[str, ...] = ()
    hidden_continuous_size: int = 8
    hidden_continuous_sizes: Mapping[str, int] = field(default_factory=dict)
    embedding_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    embedding_paddings: tuple[str, ...] = ()
    share_single_variable_networks: bool = False
    causal_attention: bool = True
    mask_bias: float = -1e9

    def __post_init__(self) -> None:
        for name in ("hidden_size", "lstm_layers", "attention_head_size", "max_encoder_length"):
            _check_count(name, getattr(self, name))
        _check_count("hidden_continuous_size", self.hidden_continuous_size)
        for real, size in self.hidden_continuous_sizes.items():
            _check_count(f"hidden_continuous_sizes of {real!r}", size)
        if not self.output_size:
            raise PluginError("tft: output_size is empty; expected one number a target")
        for size in self.output_size:
            _check_count("output_size", size)
        if self.attention_head_size > self.hidden_size:
            raise PluginError(
                f"tft: attention_head_size is {self.attention_head_size}; expected at most hidden_size, "
                f"{self.hidden_size}: a head has hidden_size // attention_head_size units"
            )
        if not 0 <= self.dropout < 1:
            raise PluginError(f"tft: dropout is {self.dropout!r}; expected a fraction of 0 or more, below 1")
        if not self.mask_bias < 0:
            raise PluginError(f"tft: mask_bias is {self.mask_bias!r}; expected a large negative number")
        self._check_names()
        self._check_categoricals()

    # ── variables ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def static_variables(self) -> tuple[str, ...]:
        return self.static_categoricals + self.static_reals

    @property
    def encoder_variables(self) -> tuple[str, ...]:
        return self.time_varying_categoricals_encoder + self.time_varying_reals_encoder

    @property
    def decoder_variables(self) -> tuple[str, ...]:
        return self.time_varying_categoricals_decoder + self.time_varying_reals_decoder

    @property
    def reals(self) -> tuple[str, ...]:
        """Reals that are inputs of the network, each once."""
        return tuple(
            dict.fromkeys(self.static_reals + self.time_varying_reals_encoder + self.time_varying_reals_decoder)
        )

    @property
    def categoricals(self) -> tuple[str, ...]:
        """Categoricals that are inputs of the network, each once."""
        return tuple(
            dict.fromkeys(
                self.static_categoricals
                + self.time_varying_categoricals_encoder
                + self.time_varying_categoricals_decoder
            )
        )

    def width(self, variable: str) -> int:
        """Return how many numbers a variable has before its single-variable network."""
        if variable in self.embedding_sizes:
            return self.embedding_sizes[variable][1]
        return self.hidden_continuous_sizes.get(variable, self.hidden_continuous_size)

    def code_columns(self, categorical: str) -> list[int]:
        """Return the columns of a categorical's codes: one, or those of its group's members."""
        members = self.categorical_groups.get(categorical, (categorical,))
        return [self.x_categoricals.index(name) for name in members]

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Return the configuration of a mapping of hyper-parameters, as JSON has them.

        Hyper-parameters that only training needs are read and left alone; what is missing has the origin's default.

        Raises:
            PluginError: one is unknown, of another type, or cannot be.
        """
        if not isinstance(parameters, Mapping):
            raise PluginError(f"tft: hyper-parameters are {parameters!r}; expected an object by name")
        known = {entry.name for entry in fields(cls)}
        for name in parameters:
            if name not in known and name not in _OF_TRAINING:
                raise PluginError(f"tft: unknown hyper-parameter {name!r}{nearest_name(name, sorted(known))}")
        # The origin takes null for empty, and a list for a mapping with nothing in it.
        values = {name: value for name, value in parameters.items() if name in known and value is not None}
        for name in _LISTS:
            values[name] = _names(name, values.get(name, ()))
        groups = _mapping("categorical_groups", values.get("categorical_groups"))
        values["categorical_groups"] = {group: _names(f"group {group!r}", names) for group, names in groups.items()}
        values["hidden_continuous_sizes"] = _mapping("hidden_continuous_sizes", values.get("hidden_continuous_sizes"))
        size = values.get("output_size", 7)
        values["output_size"] = tuple(size) if isinstance(size, list | tuple) else (size,)
        tables = _mapping("embedding_sizes", values.get("embedding_sizes"))
        widest = values.get("hidden_size", 16)
        _check_count("hidden_size", widest)
        values["embedding_sizes"] = {name: _embedding_size(name, table, widest) for name, table in tables.items()}
        return cls(**values)

    # ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_names(self) -> None:
        for entry in _LISTS:
            names = getattr(self, entry)
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise PluginError(f"tft: {entry} has {', '.join(twice)} more than once; expected each name once")
        for name in (*self.reals, *self.embedding_sizes):
            if not name or "." in name or hasattr(_BEARER, name):
                raise PluginError(
                    f"tft: a variable is named {name!r}; weights bear its name, so it may have no dot and be none of "
                    "torch's own (such as 'type', 'keys', 'training')"
                )
        both = sorted(set(self.reals) & set(self.categoricals))
        if both:
            raise PluginError(f"tft: {', '.join(both)} is both a real and a categorical; expected one of them")
        for name in self.reals:
            if name not in self.x_reals:
                raise PluginError(
                    f"tft: the real {name!r} has no column in x_reals ({', '.join(self.x_reals) or 'empty'})"
                    f"{nearest_name(name, self.x_reals)}"
                )
            if name in self.embedding_sizes:
                raise PluginError(f"tft: the real {name!r} has an embedding; expected it among the categoricals")

    def _check_categoricals(self) -> None:
        for name, (categories, width) in self.embedding_sizes.items():
            _check_count(f"embedding_sizes of {name!r}", categories)
            _check_count(f"embedding_sizes of {name!r}", width)
        for group, members in self.categorical_groups.items():
            if group not in self.embedding_sizes:
                raise PluginError(f"tft: the group {group!r} has no embedding_sizes; expected [categories, width]")
            if not members:
                raise PluginError(f"tft: the group {group!r} has no members; expected columns of x_categoricals")
            for member in members:
                if member in self.embedding_sizes:
                    raise PluginError(
                        f"tft: {member!r} of the group {group!r} has embedding_sizes of its own; "
                        "a member takes the group's"
                    )
                if member not in self.x_categoricals:
                    raise PluginError(f"tft: {member!r} of the group {group!r} has no column in x_categoricals")
        for name in self.categoricals:
            if name not in self.embedding_sizes:
                raise PluginError(
                    f"tft: the categorical {name!r} has no embedding_sizes; expected [categories, width]"
                    f"{nearest_name(name, sorted(self.embedding_sizes))}"
                )
            if name not in self.categorical_groups and name not in self.x_categoricals:
                raise PluginError(
                    f"tft: the categorical {name!r} has no column in x_categoricals "
                    f"({', '.join(self.x_categoricals) or 'empty'}){nearest_name(name, self.x_categoricals)}"
                )


def embedding_width(categories: int) -> int:
    """Return the width of an embedding of which only the count of categories is given: 1.6 · n^0.56, at most 100.

    Source: pytorch-forecasting's rule, after fastai.
    """
    return min(round(1.6 * categories**0.56), LARGEST_EMBEDDING) if categories > 2 else 1


def _embedding_size(name: str, table: Any, widest: int) -> tuple[int, int]:
    if isinstance(table, int):
        table = (table, embedding_width(table))
    if not isinstance(table, Sequence) or isinstance(table, str) or len(table) != 2:
        raise PluginError(f"tft: embedding_sizes of {name!r} is {table!r}; expected [categories, width] or categories")
    for size in table:
        _check_count(f"embedding_sizes of {name!r}", size)
    return table[0], min(table[1], widest)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise PluginError(f"tft: {name} is {value!r}; expected a list of names")
    return tuple(value)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not value:
        return {}
    if not isinstance(value, Mapping):
        raise PluginError(f"tft: {name} is {value!r}; expected an object by name")
    return value


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PluginError(f"tft: {name} is {value!r}; expected a whole number of 1 or more")
