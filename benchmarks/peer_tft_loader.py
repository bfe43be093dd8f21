"""Run by another environment's Python: pytorch-forecasting's own loader. See benchmarks/peer_process.py.

Input: "values" float32 [groups, rows, features], "target" [groups, rows], "past" and "batch", each [1]. A turn goes
once over all windows; its outcome: how many they were, the sum of their last rows, the sum of their targets.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.data.encoders import TorchNormalizer


def main(path: str) -> None:
    """Answer a line of JSON for every line on the input."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    given = torch.load(path, weights_only=True)
    values, target = given["values"].numpy(), given["target"].numpy()
    groups, rows, width = values.shape
    names = [f"f{place}" for place in range(width)]
    frame = pd.DataFrame(values.reshape(-1, width), columns=names)
    frame["target"] = target.reshape(-1)
    frame["symbol"] = np.repeat([f"S{place}" for place in range(groups)], rows)
    frame["time"] = np.tile(np.arange(rows), groups)
    past = int(given["past"])
    data = TimeSeriesDataSet(
        frame, time_idx="time", target="target", group_ids=["symbol"], min_encoder_length=past, max_encoder_length=past,
        max_prediction_length=1, static_categoricals=["symbol"], time_varying_unknown_reals=names,
        scalers=dict.fromkeys(names), target_normalizer=TorchNormalizer(method="identity"),
    )  # fmt: skip
    loader = data.to_dataloader(train=False, batch_size=int(given["batch"]), num_workers=0)
    print("ready", flush=True)
    for _ in sys.stdin:
        count, seen, came = 0, 0.0, 0.0
        wall, cpu = time.perf_counter(), time.process_time()
        for x, (y, _) in loader:
            count += len(y)
            seen += float(x["encoder_cont"][:, -1].double().sum())
            came += float(y.double().sum())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu, "wall": wall, "outcome": [count, seen, came]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
