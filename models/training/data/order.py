"""In which order windows are seen, and by which process. The same seed, epoch and global batch give the same samples at
every step, however many processes share them: each takes its rows of the one global batch.

    for shard in Order(len(windows), batch=256, seed=7, rank=rank, world=world).epoch(3):
        batch = windows.gather(shard.places)
        losses = …                                         # [n], one a window
        loss = (losses * shard.weights).sum() * shard.scale

Averaged over the processes, as DistributedDataParallel averages gradients, that loss is the mean over the global batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.errors import SettingsError


@dataclass(frozen=True)
class Shard:
    """One process's part of one global batch.

    Args:
        places: int64 [n], windows. weights: float32 [n], 1; 0 for one that only fills up, so that every process has as
            many rows. total: windows in the global batch, fillers left out. world: processes.
        step: of the epoch, from 0. generator: of random numbers for this global batch, the same in every process; draw
            for `rows` rows and keep `own`.
    """

    places: Tensor
    weights: Tensor
    total: int
    world: int
    step: int
    rank: int
    seed: int

    @property
    def scale(self) -> float:
        """What the sum of weighted losses is multiplied with."""
        return self.world / self.total

    @property
    def rows(self) -> int:
        """Rows of the global batch, fillers and all."""
        return len(self.places) * self.world

    @property
    def own(self) -> slice:
        """This process's rows of the global batch."""
        return slice(self.rank * len(self.places), (self.rank + 1) * len(self.places))

    def generator(self) -> torch.Generator:
        """Return a fresh CPU generator, seeded by seed, epoch and step alone."""
        return torch.Generator().manual_seed(self.seed)

    def parts(self, count: int) -> Iterator["Shard"]:
        """Yield the shard in `count` pieces for accumulated gradients; their losses, each times its scale, add up."""
        size = -(-len(self.places) // count)
        for start in range(0, len(self.places), size):
            rows = slice(start, start + size)
            yield replace(self, places=self.places[rows], weights=self.weights[rows])


@dataclass(frozen=True)
class Order:
    """Batches of an epoch.

    Args:
        count: windows. batch: of all processes together. seed: of the run. shuffle: else in the order they stand in.
        rank, world: this process and how many there are. The short last batch is kept.
    Raises:
        SettingsError: a number that cannot be.
    """

    count: int
    batch: int
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch < 1:
            raise SettingsError(f"{self.count} windows in batches of {self.batch}; expected one or more of each")
        if not 0 <= self.rank < self.world:
            raise SettingsError(f"rank {self.rank} of {self.world} processes; expected 0 … {self.world - 1}")
        if self.batch % self.world:
            raise SettingsError(
                f"a batch of {self.batch} cannot be shared by {self.world} processes; expected a "
                f"multiple of {self.world}"
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.batch)

    def places(self, epoch: int) -> Tensor:
        """Return the order of an epoch, int64 [count]: a permutation that depends on seed and epoch alone."""
        if not self.shuffle:
            return torch.arange(self.count)
        return torch.randperm(self.count, generator=torch.Generator().manual_seed(mixed(self.seed, epoch)))

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Shard]:
        """Yield this process's shards of an epoch, from a step on: a resumed epoch goes on where it stood."""
        places = self.places(epoch)
        for step in range(first_step, self.steps):
            whole = places[step * self.batch : (step + 1) * self.batch]
            share = -(-len(whole) // self.world)
            filled = torch.cat([whole, whole[:1].expand(share * self.world - len(whole))])
            own = slice(self.rank * share, (self.rank + 1) * share)
            weights = (torch.arange(share * self.world) < len(whole)).float()[own]
            yield Shard(
                filled[own], weights, len(whole), self.world, step, self.rank, mixed(self.seed, epoch, step + 1)
            )


def mixed(*numbers: int) -> int:
    """Return a seed of 63 bits that depends on all numbers and their order (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
