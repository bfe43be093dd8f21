"""Run by another environment's Python: the scores of pyqlib's own KRNN. See benchmarks/peer_process.py."""

import contextlib
import json
import sys
import time

import torch

with contextlib.redirect_stdout(sys.stderr):  # it prints which of its optional parts are missing
    from qlib.contrib.model.pytorch_krnn import KRNNModel


def main(path: str) -> None:
    """Answer a line of JSON for every line on the input."""
    torch.set_num_threads(1)
    tensors = torch.load(path, weights_only=True)
    x, weights = tensors.pop("x"), tensors
    channels, fields, kernel = weights["encoder.cnn_encoder.conv.weight"].shape
    hidden = weights["out_fc.weight"].shape[1]
    names = [name.split(".") for name in weights if ".weight_hh_l" in name]
    dups = 1 + max(int(name[3]) for name in names)
    layers = 1 + max(int(name[4][len("weight_hh_l") :]) for name in names)
    model = KRNNModel(fields, channels, kernel, hidden, dups, layers, 0.0, torch.device("cpu")).eval()
    model.load_state_dict(weights)
    print("ready", flush=True)
    for _ in sys.stdin:
        with torch.inference_mode():
            wall, cpu = time.perf_counter(), time.process_time()
            scores = model(x)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu, "wall": wall, "outcome": scores.reshape(-1).tolist()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
