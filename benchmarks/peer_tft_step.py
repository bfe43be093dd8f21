"""Run by another environment's Python: training steps of pytorch-forecasting's TFT. See benchmarks/peer_process.py.

Input: as peer_tft.py's, and "y", float32 [B], and "steps", [1]. A turn takes so many steps of Adam from the same
weights; its outcome is the loss of each.
"""

import json
import sys
import time

import torch
from pytorch_forecasting.data.encoders import TorchNormalizer
from pytorch_forecasting.metrics import QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer

LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def main(path: str) -> None:
    """Answer a line of JSON for every line on the input."""
    torch.set_num_threads(1)
    tensors = torch.load(path, weights_only=True)
    parameters = json.loads(bytes(tensors.pop("parameters").tolist()))
    y, steps = tensors.pop("y"), int(tensors.pop("steps"))
    x = {name[2:]: tensors.pop(name) for name in list(tensors) if name.startswith("x.")}
    model = TemporalFusionTransformer(
        **parameters, loss=QuantileLoss(), output_transformer=TorchNormalizer(), logging_metrics=[]
    ).train()
    levels = torch.tensor(LEVELS)
    print("ready", flush=True)
    for _ in sys.stdin:
        model.load_state_dict(tensors)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        losses = []
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            optimiser.zero_grad()
            error = y[:, None, None] - model(x)["prediction"]
            loss = torch.maximum(levels * error, (levels - 1) * error).mean()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu, "wall": wall, "outcome": losses}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
