"""The training loop: batches, loss, step; at each epoch's end a judgement, a checkpoint, perhaps the end.

Devices, precision and several processes are Lightning Fabric's. Every step is seeded by its own number and a batch is
cut by the rows it has, so that a run that was stopped goes on as if it had not been, and several processes take the
steps that one takes.
"""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.errors import PluginError
from models.devices import choose_device, cuda_devices, share_out
from models.training.checkpoints import Checkpoints, TrainingState, read_state, restore
from models.training.plan import Plan, Precision
from models.training.recipe import Draws, Loss, Moment, Recipe, WholeBatch

CHECKPOINTS = "checkpoints"
_DRAWS = -1
"""The stream of chance that is the same in every process; theirs are from 2 on."""


class Watcher(Protocol):
    """Told how training goes: a bar on the screen, a file of metrics, TensorBoard."""

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None: ...

    def stepped(
        self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]
    ) -> None: ...

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None: ...

    def ended(self, state: TrainingState, error: BaseException | None) -> None:
        """Training is over, or was ended by an error (Ctrl-C is one); called for all that were told that it began."""


@dataclass(frozen=True)
class Trained:
    """What came of it: the network of the best checkpoint, in eval mode; where training ended; the best checkpoint."""

    network: nn.Module
    state: TrainingState
    best: TrainingState


def make_fabric(device: str = "auto", precision: Precision = "32") -> Any:
    """Return Fabric for a device; under torchrun, for all of its processes.

    Args:
        device: as models.devices has them: "auto", "cpu", "cuda", "cuda:1", "mps".
    Raises:
        SettingsError: there is no such device here, or not one for each process.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // here
    chosen = choose_device(device)
    devices = share_out(device, chosen, here, cuda_devices())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=chosen.kind, devices=devices, num_nodes=nodes, strategy="ddp" if here * nodes > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


class _Losses(nn.Module):
    """A network whose forward is its loss: what several processes share gradients of."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe

    def forward(self, rows: Tensor, moment: Moment) -> Loss:
        return self._recipe.loss(self.network, rows, moment)


def train(
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    *,
    fabric: Any = None,
    watchers: Sequence[Watcher] = (),
    begin: Callable[[nn.Module], None] | None = None,
    stop_after: int = 0,
) -> Trained:
    """Train a network; go on from the folder's last checkpoint if there is one.

    Args:
        folder: of the run; checkpoints go below it. begin: changes the fresh network: a warm start.
        stop_after: epochs of this sitting, after which it ends although the plan has more; 0 for none.
    Raises:
        PluginError: the loss is not a number, or the score of every epoch; a checkpoint is one of another network.
    """
    fabric = fabric or make_fabric("cpu", plan.precision)
    with torch.random.fork_rng(devices=[]):
        return _Training(recipe, plan, folder, fabric, watchers, begin).run(stop_after)


class _Training:
    def __init__(
        self, recipe: Recipe, plan: Plan, folder: Path, fabric: Any, watchers: Sequence[Watcher],
        begin: Callable[[nn.Module], None] | None,
    ) -> None:
        self.recipe, self.plan, self.fabric = recipe, plan, fabric
        self.watchers = watchers if fabric.is_global_zero else ()
        self.checkpoints = Checkpoints(
            folder / CHECKPOINTS, recipe.goal.metric, is_higher_better=recipe.goal.is_higher_better, keep=plan.keep
        )
        torch.manual_seed(_mixed(plan.seed, 0, 0))
        self.network = recipe.network()
        if begin is not None:
            begin(self.network)
        recipe.to(fabric.device)
        self.in_epoch = len(self._batches(0))
        if not self.in_epoch:
            raise PluginError("there is nothing to train on: the training span has no rows")
        optimiser = plan.optimiser.made(self.network.parameters())
        self.module, self.optimiser = fabric.setup(_Losses(self.network, recipe), optimiser)
        self.state = TrainingState()
        if (last := self.checkpoints.last()) is not None:
            self.state = restore(last, self.network, self.optimiser.optimizer)
            if not fabric.is_global_zero:  # the sums of all processes are the first one's now
                self.state.loss_sum = self.state.weight = 0.0

    def run(self, stop_after: int) -> Trained:
        until = min(self.plan.epochs, self.state.epoch + stop_after if stop_after else self.plan.epochs)
        with ExitStack() as stack:
            for watcher in self.watchers:
                watcher.began(self.state, self.in_epoch, self.plan.epochs)
                stack.push(partial(_told_of_the_end, watcher, self.state))
            while self.state.epoch < until and not self._is_stale:
                self._epoch()
            self._check_that_one_can_be_chosen()
        self.fabric.barrier()
        best = self.checkpoints.best()
        assert best is not None
        restore(best, self.network)
        return Trained(self.network.eval(), self.state, read_state(best))

    def _check_that_one_can_be_chosen(self) -> None:
        if self.state.best is not None:
            return
        goal, found = self.recipe.goal, self.state.metrics
        unknown = ", ".join(name for name in goal.made_of if found[name] != found[name])
        raise PluginError(
            f"no epoch could be chosen: {goal.metric} was no number in any of {self.state.epoch}"
            f"{f', for {unknown} was none' if unknown else ''}; judge on more windows (split.valid, split.end), or "
            f"choose by what can be known; no artefact was written, the last checkpoint is {self.checkpoints.last()}"
        )

    @property
    def _is_stale(self) -> bool:
        return 0 < self.plan.patience <= self.state.stale

    def _batches(self, epoch: int) -> Sequence[Tensor]:
        generator = torch.Generator().manual_seed(_mixed(self.plan.seed, 1, epoch))
        return self.recipe.batches(self.plan.batch, generator)

    def _epoch(self) -> None:
        state, began = self.state, time.perf_counter()
        batches = self._batches(state.epoch)
        self.module.train()
        rate = 0.0
        for place in range(state.batch, len(batches)):
            rate = self._step(batches[place])
            state.batch = place + 1
            every = self.plan.checkpoint_steps
            if every and state.step % every == 0 and state.batch < len(batches):
                self._save()
        metrics = self._judge()
        loss = self._total(state.loss_sum) / self._total(state.weight)
        state.epoch, state.batch, state.loss_sum, state.weight = state.epoch + 1, 0, 0.0, 0.0
        state.metrics, state.score = metrics, metrics[self.recipe.goal.metric]
        if self.recipe.goal.is_better(state.score, state.best):
            state.best, state.best_epoch, state.stale = state.score, state.epoch, 0
        else:
            state.stale += 1
        self._save()
        for watcher in self.watchers:
            watcher.judged(state, loss, rate, time.perf_counter() - began)

    def _step(self, rows: Tensor) -> float:
        """Take one step over a batch, and return the learning rate it was taken with."""
        state, fabric, plan = self.state, self.fabric, self.plan
        steps = plan.steps(self.in_epoch)
        rate = plan.optimiser.rate * plan.schedule.factor(state.step, steps)
        beta = plan.schedule.first_beta(state.step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
            if beta is not None:
                group["betas"] = (beta, group["betas"][1])
        torch.manual_seed(_mixed(plan.seed, 2 + fabric.global_rank, state.step))
        whole = self._whole(rows, state.step / max(steps - 1, 1))
        summed, parts = 0.0, {}
        self.optimiser.zero_grad(set_to_none=True)
        for number, (places, weight) in enumerate(self._slices(rows)):
            moment = self._moment(rows, places, state.step / max(steps - 1, 1))._replace(whole=whole)
            with fabric.no_backward_sync(self.module, enabled=number + 1 < plan.accumulate):
                loss = self.module(rows[places].to(fabric.device), moment)
                # Of several processes gradients are averaged, so each gives its share times their number.
                fabric.backward(loss.value * (weight / len(rows) * fabric.world_size))
            summed += float(loss.value.detach()) * weight
            parts = {name: float(value.detach()) for name, value in loss.parts.items()} if self.watchers else {}
        if not math.isfinite(summed):
            raise PluginError(
                f"the loss is {summed} at step {state.step} of epoch {state.epoch + 1}; look for extreme numbers in "
                "the data, or lower the learning rate or clip gradients"
            )
        if plan.clip_norm:
            fabric.clip_gradients(self.module, self.optimiser, max_norm=plan.clip_norm)
        if plan.clip_value:
            fabric.clip_gradients(self.module, self.optimiser, clip_val=plan.clip_value)
        self.optimiser.step()
        state.step += 1
        state.loss_sum, state.weight = state.loss_sum + summed, state.weight + self._own(rows)
        for watcher in self.watchers:
            watcher.stepped(state, summed / max(self._own(rows), 1), rate, len(rows), parts)
        return rate

    def _slices(self, rows: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Yield the places of this process' parts of a batch and how many rows of each count: an empty one borrows a
        row that does not, for every process must take part in every step."""
        places = torch.arange(len(rows))
        for some in places[self.fabric.global_rank :: self.fabric.world_size].tensor_split(self.plan.accumulate):
            yield (some, len(some)) if len(some) else (places[:1], 0)

    def _moment(self, rows: Tensor, places: Tensor, through: float) -> Moment:
        draws = Draws(_mixed(self.plan.seed, _DRAWS, self.state.step), len(rows), places)
        return Moment(self.state.epoch, self.state.step, through, draws)

    def _whole(self, rows: Tensor, through: float) -> Tensor | None:
        """Return what the recipe needs of the whole batch; None: nothing, or a step has the whole batch at once."""
        recipe, fabric = self.recipe, self.fabric
        if not isinstance(recipe, WholeBatch) or fabric.world_size * self.plan.accumulate == 1:
            return None
        with torch.no_grad(), fabric.autocast():
            own = [
                recipe.whole(self.network, rows[places].to(fabric.device), self._moment(rows, places, through)).float()
                * (weight / len(rows))
                for places, weight in self._slices(rows)
            ]
        summed: Tensor = fabric.all_reduce(torch.stack(own).sum(0), reduce_op="sum")
        return summed

    def _own(self, rows: Tensor) -> int:
        return len(rows[self.fabric.global_rank :: self.fabric.world_size])

    def _judge(self) -> dict[str, float]:
        state = self.state
        with _evaluated(self.module), torch.no_grad():
            torch.manual_seed(_mixed(self.plan.seed, 1, state.epoch))
            metrics = self.recipe.validate(self.network, Moment(state.epoch, state.step, 1.0))
        found: dict[str, float] = self.fabric.broadcast(metrics)
        if self.recipe.goal.metric not in found:
            raise PluginError(f"validation gave {', '.join(found)}; expected {self.recipe.goal.metric} among them")
        return found

    def _total(self, value: float) -> float:
        if self.fabric.world_size == 1:
            return value
        return float(self.fabric.all_reduce(torch.tensor(value, dtype=torch.float64), reduce_op="sum"))

    def _save(self) -> None:
        """Write a checkpoint: the first process does, with the loss of all."""
        state = replace(self.state, loss_sum=self._total(self.state.loss_sum), weight=self._total(self.state.weight))
        if self.fabric.is_global_zero:
            self.checkpoints.save(self.network, self.optimiser.optimizer, state)
        self.fabric.barrier()


def _told_of_the_end(
    watcher: Watcher, state: TrainingState, kind: object, error: BaseException | None, trace: object
) -> None:
    watcher.ended(state, error)


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    module.eval()
    try:
        yield
    finally:
        module.train()


def _mixed(seed: int, stream: int, number: int) -> int:
    """Return a seed for one use of chance, spread over 63 bits."""
    mixed = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9 + number * 0x94D049BB133111EB) & (2**64 - 1)
    mixed ^= mixed >> 31
    return (mixed * 0xD6E8FEB86659FD93 & (2**64 - 1)) >> 1
