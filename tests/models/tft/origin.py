"""Make folders of tensors with pytorch-forecasting itself; run by an interpreter that has it, apart from ours.

    PYTHON origin.py FOLDER

Each folder is one case: config.json, state_dict.safetensors, x.safetensors, output.safetensors.
"""

import json
import sys
from pathlib import Path

import torch
from pytorch_forecasting.data.encoders import MultiNormalizer, TorchNormalizer
from pytorch_forecasting.metrics import MAE, CrossEntropy, MultiLoss, QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer
from safetensors.torch import save_file

NOTHING: dict = {
    "static_categoricals": [],
    "static_reals": [],
    "time_varying_categoricals_encoder": [],
    "time_varying_categoricals_decoder": [],
    "x_categoricals": [],
    "embedding_sizes": {},
}
REALS = {
    "time_varying_reals_encoder": ["t", "a", "b"],
    "time_varying_reals_decoder": ["t"],
    "x_reals": ["unused", "t", "a", "b"],
}
CASES = {
    "ragged_without_static": dict(NOTHING, **REALS, batch=9, past=17, ahead=3, ragged=True),
    "shared_networks": {
        **REALS,
        "static_categoricals": ["symbol"],
        "static_reals": ["age"],
        "time_varying_categoricals_encoder": ["dow", "regime"],
        "time_varying_categoricals_decoder": ["dow"],
        "x_reals": ["age", "t", "a", "b"],
        "x_categoricals": ["symbol", "dow", "regime"],
        "embedding_sizes": {"symbol": [5, 3], "dow": [7, 12], "regime": [3, 1]},
        "share_single_variable_networks": True,
        "ragged": True,
        "ahead": 2,
    },
    "not_causal": dict(NOTHING, **REALS, causal_attention=False, ahead=5, ragged=True, attention_head_size=3),
    "embedding_bag": {
        **REALS,
        "static_categoricals": ["symbol"],
        "static_reals": [],
        "time_varying_categoricals_encoder": ["holidays", "dow"],
        "time_varying_categoricals_decoder": ["holidays"],
        "categorical_groups": {"holidays": ["us", "de", "cn"]},
        "x_categoricals": ["us", "symbol", "de", "dow", "cn"],
        "embedding_sizes": {"holidays": [4, 6], "symbol": 40, "dow": [7, 3]},
        "embedding_paddings": ["dow", "symbol"],
        "ahead": 2,
    },
    "shared_embedding_bag_static_group": {
        **REALS,
        "static_categoricals": ["sectors"],
        "static_reals": [],
        "time_varying_categoricals_encoder": ["holidays"],
        "time_varying_categoricals_decoder": ["holidays"],
        "categorical_groups": {"holidays": ["us", "de"], "sectors": ["s1", "s2"]},
        "x_categoricals": ["us", "de", "s1", "s2"],
        "embedding_sizes": {"holidays": [4, 6], "sectors": [9, 12]},
        "share_single_variable_networks": True,
        "ahead": 3,
    },
    "own_sizes": {
        **NOTHING,
        **REALS,
        "static_reals": ["age", "size"],
        "x_reals": ["a", "b", "age", "t", "size"],
        "hidden_continuous_size": 4,
        "hidden_continuous_sizes": {"a": 1, "b": 12, "age": 20, "t": 2},
        "output_size": [1, 3, 5],
        "ahead": 2,
    },
    "one_variable_each": {
        **NOTHING,
        "static_reals": ["age"],
        "time_varying_reals_encoder": ["a"],
        "time_varying_reals_decoder": ["t"],
        "x_reals": ["age", "a", "t"],
        "output_size": 1,
        "lstm_layers": 3,
        "ahead": 4,
        "ragged": True,
    },
    "nothing_known_ahead": {
        **NOTHING,
        **REALS,
        "time_varying_reals_decoder": [],
        "hidden_continuous_size": 1,
        "attention_head_size": 5,
        "ahead": 2,
    },
    "widths_of_one": dict(NOTHING, **REALS, hidden_continuous_size=1, attention_head_size=1, batch=1),
    "many_variables": {
        **NOTHING,
        "time_varying_reals_encoder": [f"r{i}" for i in range(20)],
        "time_varying_reals_decoder": ["r0", "r19"],
        "x_reals": [f"r{i}" for i in range(20)],
        "hidden_size": 8,
        "hidden_continuous_size": 16,
        "attention_head_size": 3,
        "ahead": 1,
        "ragged": True,
    },
}


def make(name: str, case: dict, folder: Path, seed: int) -> None:
    parameters = {"hidden_size": 12, "attention_head_size": 2, "hidden_continuous_size": 5, "output_size": 3, **case}
    batch, past, ahead, ragged = (
        parameters.pop(key, default) for key, default in (("batch", 4), ("past", 8), ("ahead", 1), ("ragged", False))
    )
    parameters["max_encoder_length"] = past
    sizes = parameters["output_size"]
    targets = len(sizes) if isinstance(sizes, list) else 1
    torch.manual_seed(seed)
    loss, normalizer = QuantileLoss(), TorchNormalizer()
    if targets > 1:
        loss = MultiLoss([MAE() if size == 1 else CrossEntropy() for size in sizes])
        normalizer = MultiNormalizer([TorchNormalizer() for _ in sizes])
    network = TemporalFusionTransformer(**parameters, loss=loss, output_transformer=normalizer, logging_metrics=[])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    network.eval()
    x = inputs(parameters, batch, past, ahead, ragged, targets)
    with torch.no_grad():
        out = network(x)
        zero_one = [torch.tensor([[0.0, 1.0]]).expand(batch, 2)] * targets
        plain = network({**x, "target_scale": zero_one if targets > 1 else zero_one[0]})
    scales = x.pop("target_scale")
    tensors = {**x, **{f"target_scale.{i}": scale for i, scale in enumerate(scales if targets > 1 else [scales])}}
    outputs = {
        **_listed("prediction", out["prediction"]),
        **_listed("raw", plain["prediction"]),
        **{
            key: out[key]
            for key in (
                "encoder_attention",
                "decoder_attention",
                "static_variables",
                "encoder_variables",
                "decoder_variables",
            )
        },
    }
    folder.mkdir(parents=True)
    for file, content in (("state_dict", network.state_dict()), ("x", tensors), ("output", outputs)):
        save_file({key: value.contiguous().clone() for key, value in content.items()}, folder / f"{file}.safetensors")
    count = sum(parameter.numel() for parameter in network.parameters())
    config = {"name": name, "n_targets": targets, "hparams": parameters, "n_params": count, "tolerance_abs": 1e-5}
    (folder / "config.json").write_text(json.dumps(config))


def inputs(parameters: dict, batch: int, past: int, ahead: int, ragged: bool, targets: int) -> dict:
    names = parameters["x_categoricals"]
    groups = parameters.get("categorical_groups", {})
    group_of = {member: group for group, members in groups.items() for member in members}
    counts = [parameters["embedding_sizes"][group_of.get(name, name)] for name in names]
    counts = [count if isinstance(count, int) else count[0] for count in counts]

    def codes(steps: int) -> torch.Tensor:
        drawn = [torch.randint(0, count, (batch, steps)) for count in counts]
        return torch.stack(drawn, dim=-1) if drawn else torch.zeros(batch, steps, 0, dtype=torch.int64)

    def lengths(most: int) -> torch.Tensor:
        drawn = torch.randint(1, most + 1, (batch,)) if ragged else torch.full((batch,), most)
        drawn[0] = most
        drawn[-1] = 1 if ragged and batch > 1 else most
        return drawn

    scales = [torch.rand(batch, 2) + 0.5 for _ in range(targets)]
    return {
        "encoder_cat": codes(past),
        "decoder_cat": codes(ahead),
        "encoder_cont": torch.randn(batch, past, len(parameters["x_reals"])) * 2,
        "decoder_cont": torch.randn(batch, ahead, len(parameters["x_reals"])) * 2,
        "encoder_lengths": lengths(past),
        "decoder_lengths": lengths(ahead),
        "target_scale": scales if targets > 1 else scales[0],
    }


def _listed(name: str, values: torch.Tensor | list[torch.Tensor]) -> dict[str, torch.Tensor]:
    values = values if isinstance(values, list | tuple) else [values]
    return {f"{name}.{i}": value for i, value in enumerate(values)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place, (case_name, one) in enumerate(CASES.items()):
        make(case_name, dict(one), Path(sys.argv[1]) / case_name, place)
