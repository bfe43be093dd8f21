"""Small networks of every kind, with weights that are nowhere near their first values, and windows for them."""

import torch

from models.tft.configuration import TFTConfiguration
from models.tft.network import TFT
from models.tft.tensors import TFTInputs

REALS = {
    "time_varying_reals_encoder": ["t", "a", "b"],
    "time_varying_reals_decoder": ["t"],
    "x_reals": ["unused", "t", "a", "b"],
}
CATEGORICALS = {
    "static_categoricals": ["symbol"],
    "time_varying_categoricals_encoder": ["dow", "regime"],
    "time_varying_categoricals_decoder": ["dow"],
    "x_categoricals": ["symbol", "dow", "regime"],
    "embedding_sizes": {"symbol": [5, 3], "dow": [7, 12], "regime": [3, 1]},
}
KINDS = {
    "reals alone": REALS,
    "static and in time": {
        **REALS,
        **CATEGORICALS,
        "static_reals": ["age"],
        "x_reals": ["age", "t", "a", "b"],
        "output_size": [1, 3, 2],
        "lstm_layers": 2,
    },
    "shared": {**REALS, **CATEGORICALS, "share_single_variable_networks": True},
    "not causal": {**REALS, "causal_attention": False, "attention_head_size": 3},
    "groups": {
        **REALS,
        "static_categoricals": ["sectors"],
        "time_varying_categoricals_encoder": ["holidays", "dow"],
        "time_varying_categoricals_decoder": ["holidays"],
        "categorical_groups": {"holidays": ["us", "de"], "sectors": ["s1", "s2", "s3"]},
        "x_categoricals": ["us", "s1", "dow", "de", "s2", "s3"],
        "embedding_sizes": {"holidays": [4, 6], "sectors": 9, "dow": [7, 3]},
        "embedding_paddings": ["dow"],
    },
    "shared groups": {
        **REALS,
        "time_varying_categoricals_encoder": ["holidays"],
        "time_varying_categoricals_decoder": ["holidays"],
        "categorical_groups": {"holidays": ["us", "de"]},
        "x_categoricals": ["us", "de"],
        "embedding_sizes": {"holidays": [4, 12]},
        "share_single_variable_networks": True,
    },
    "own sizes": {**REALS, "hidden_continuous_sizes": {"t": 1, "a": 12, "b": 20}, "hidden_continuous_size": 2},
    "one variable each": {
        "static_reals": ["age"],
        "time_varying_reals_encoder": ["a"],
        "time_varying_reals_decoder": ["t"],
        "x_reals": ["age", "a", "t"],
        "output_size": 1,
    },
    "one categorical each": {
        **CATEGORICALS,
        "time_varying_categoricals_encoder": ["dow"],
        "x_reals": [],
    },
    "nothing known ahead": {**REALS, "time_varying_reals_decoder": [], "hidden_continuous_size": 1},
    "nothing at all": {"x_reals": ["unused"]},
    "more variables than units": {
        "time_varying_reals_encoder": [f"r{i}" for i in range(15)],
        "time_varying_reals_decoder": ["r3", "r14"],
        "x_reals": [f"r{i}" for i in range(15)],
        "attention_head_size": 5,
    },
}


def make_network(seed: int = 0, **parameters) -> TFT:
    given = {"hidden_size": 12, "attention_head_size": 2, "hidden_continuous_size": 5, "output_size": 3, **parameters}
    generator = torch.Generator().manual_seed(seed)
    network = TFT(TFTConfiguration.of(given)).eval()
    with torch.no_grad():
        for name, weight in sorted(network.named_parameters()):
            spread = 0.4 if weight.dim() > 1 or "mask" in name else 0.2
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread + ("norm.weight" in name))
    return network


def make_inputs(network: TFT, rows: int = 5, past: int = 7, ahead: int = 3, *, ragged=False, seed=1) -> TFTInputs:
    of, generator = network.configuration, torch.Generator().manual_seed(seed)
    group_of = {member: group for group, members in of.categorical_groups.items() for member in members}
    counts = [of.embedding_sizes.get(group_of.get(name, name), (1, 1))[0] for name in of.x_categoricals]

    def codes(steps: int) -> torch.Tensor:
        drawn = [torch.randint(0, count, (rows, steps), generator=generator) for count in counts]
        return torch.stack(drawn, -1) if drawn else torch.zeros(rows, steps, 0, dtype=torch.int64)

    def lengths(most: int) -> torch.Tensor:
        return torch.randint(1, most + 1, (rows,), generator=generator)

    reals = torch.randn(rows, past + ahead, len(of.x_reals), generator=generator)
    return TFTInputs(
        reals[:, :past],
        reals[:, past:],
        codes(past),
        codes(ahead),
        lengths(past) if ragged else None,
        lengths(ahead) if ragged else None,
    )
