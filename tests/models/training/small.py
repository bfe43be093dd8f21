"""A small recipe with everything that makes exactness hard: dropout, a last short batch, a schedule. Run as a script it
trains in a folder, alone or under torchrun, and can be killed."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.artefact import Artefact, ArtefactCard, save_artefact
from models.training.loop import make_fabric, train
from models.training.plan import OptimiserPlan, Plan, Schedule
from models.training.recipe import Goal, Loss, Moment, TrainingFacts, shuffled
from models.training.records import MetricsFile

PLAN = Plan(
    epochs=4, batch=16, optimiser=OptimiserPlan("adamw", 0.02, 0.01),
    schedule=Schedule("one_cycle", 0.3, cycles_momentum=True), clip_norm=1.0, keep=2,
)


class Small:
    """A line through noisy points, by a network with one hidden layer."""

    goal = Goal("error")
    tables: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, dropout: float = 0.2) -> None:
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(120, 4, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 0.1 * torch.randn(120, generator=generator)
        self._dropout = dropout

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(self._dropout), nn.Linear(8, 1))

    def to(self, device: torch.device) -> None:
        self.x, self.y = self.x.to(device), self.y.to(device)

    def batches(self, size: int, generator: torch.Generator) -> Sequence[Tensor]:
        return shuffled(100, size, generator)

    def loss(self, network: nn.Module, rows: Tensor, moment: Moment) -> Loss:
        error = nn.functional.mse_loss(network(self.x[rows])[:, 0], self.y[rows])
        return Loss(error, {"through": torch.tensor(moment.through)})

    def validate(self, network: nn.Module, moment: Moment) -> dict[str, float]:
        return {"error": float(nn.functional.mse_loss(network(self.x[100:])[:, 0], self.y[100:]))}

    def export(self, network: nn.Module, folder: Path, facts: TrainingFacts) -> Artefact:
        return save_artefact(folder, ArtefactCard("small", {}), network.state_dict())


class _Killer:
    """Ends the process at a step as a power cut would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def began(self, state, in_epoch, epochs) -> None:
        pass

    def stepped(self, state, loss, rate, rows, parts) -> None:
        if state.step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def judged(self, state, loss, rate, seconds) -> None:
        pass

    def ended(self, state, error) -> None:
        pass


def main(folder: Path, changes: str, dropout: float, kill_at: int) -> None:
    torch.set_num_threads(1)
    fabric = make_fabric("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    watchers = [MetricsFile(folder), *([_Killer(kill_at)] if kill_at else [])]
    done = train(Small(dropout), replace(PLAN, **json.loads(changes)), folder, fabric=fabric, watchers=watchers)
    if fabric.is_global_zero:
        save_file(dict(done.network.state_dict()), folder / "end.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
