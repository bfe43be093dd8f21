"""Run by another environment's Python: the forward of pytorch-forecasting's own TFT. See benchmarks/peer_process.py.

Input: the weights by their names, the inputs as "x.<name>", and the hyper-parameters as bytes of JSON ("parameters").
"""

import json
import sys
import time

import torch
from pytorch_forecasting.data.encoders import TorchNormalizer
from pytorch_forecasting.metrics import QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer


def main(path: str) -> None:
    """Answer a line of JSON for every line on the input."""
    torch.set_num_threads(1)
    tensors = torch.load(path, weights_only=True)
    parameters = json.loads(bytes(tensors.pop("parameters").tolist()))
    x = {name[2:]: tensors.pop(name) for name in list(tensors) if name.startswith("x.")}
    model = TemporalFusionTransformer(
        **parameters, loss=QuantileLoss(), output_transformer=TorchNormalizer(), logging_metrics=[]
    ).eval()
    model.load_state_dict(tensors)
    print("ready", flush=True)
    for _ in sys.stdin:
        with torch.inference_mode():
            wall, cpu = time.perf_counter(), time.process_time()
            out = model(x)["prediction"]
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu, "wall": wall, "outcome": out.tolist()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
