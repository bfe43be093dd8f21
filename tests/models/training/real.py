"""Real recipes in tiny sizes, trained by the same function in this process, or as a script under torchrun."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.bars import HOUR
from feeds.chunks import join
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from models.krnn import KRNNConfiguration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.tokenizer import KronosTokenizer
from models.training import krnn, kronos
from models.training.data.augment import Augmentation
from models.training.data.splits import Split
from models.training.kronos import KronosWindows, PredictorRecipe, TokenizerRecipe, WindowPlan, export_checkpoint
from models.training.loop import make_fabric, train
from models.training.panel import Panel

BITS = TokenizerSizes(6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4)
MODEL = ModelSizes(4, 4, 1, 16, 2, 16, 0.0, 0.0, 0.0, 0.0, True)
KINDS = ("tokenizer", "predictor", "krnn")


def run(folder: Path, accumulate: int = 1) -> None:
    """Train each of KINDS for an epoch of five batches, the last one short, and write <folder>/<kind>.safetensors."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    panel = Panel.of(join(list(SyntheticFeed(SyntheticMarket(("A/USDT", "B/USDT", "C/USDT"), "1h", 200)).chunks())))
    first = int(panel.open_time.min())
    split = Split.at(first + 130 * HOUR, first + 200 * HOUR)
    fabric = make_fabric("cpu")
    if fabric.is_global_zero:
        torch.manual_seed(1)
        export_checkpoint(folder / "coder", vars(BITS), KronosTokenizer(BITS))
    fabric.barrier()
    augmented = Augmentation(noise=0.1, warp=0.2, share=0.5)
    windows = KronosWindows(panel, split, WindowPlan(20, 4, samples=70, judged=8, augmentation=augmented))
    sizes = KRNNConfiguration(cnn_dim=4, rnn_dim=4, rnn_dups=2, rnn_layers=1)
    recipes = {
        "tokenizer": (TokenizerRecipe(windows, BITS), kronos.TOKENIZER_DEFAULTS),
        "predictor": (PredictorRecipe(windows, MODEL, str(folder / "coder")), kronos.PREDICTOR_DEFAULTS),
        "krnn": (krnn.KRNNRecipe(panel, split, sizes, krnn.KRNNData(), augmented), krnn.DEFAULTS),
    }
    for kind, (recipe, plan) in recipes.items():
        size = 16 if kind != "krnn" else 44
        optimiser = replace(plan.optimiser, rate=2e-3)
        plan = replace(plan, epochs=1, batch=size, seed=3, accumulate=accumulate, optimiser=optimiser)
        done = train(recipe, plan, folder / kind, fabric=fabric)
        if fabric.is_global_zero:
            save_file({name: one.contiguous() for name, one in done.network.state_dict().items()},
                      folder / f"{kind}.safetensors")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
