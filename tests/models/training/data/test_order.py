"""Several processes see together what one sees alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SettingsError
from models.training.data.order import Order


@given(count=st.integers(1, 60), share=st.integers(1, 6), world=st.integers(1, 4), epoch=st.integers(0, 3))
def test_processes_share_the_samples_of_one(count, share, world, epoch):
    batch = share * world
    alone = list(Order(count, batch, seed=5).epoch(epoch))
    together = [list(Order(count, batch, seed=5, rank=rank, world=world).epoch(epoch)) for rank in range(world)]
    for step, whole in enumerate(alone):
        shards = [of_rank[step] for of_rank in together]
        assert len({len(shard.places) for shard in shards}) == 1
        kept = torch.cat([shard.places[shard.weights > 0] for shard in shards])
        assert torch.equal(kept, whole.places)
        # What DistributedDataParallel averages is the mean over the global batch.
        values = torch.arange(count).double()
        loss = sum((values[s.places] * s.weights).sum() * s.scale for s in shards) / world
        assert loss == pytest.approx(values[whole.places].mean())
        assert {shard.seed for shard in shards} == {whole.seed}
    assert sorted(torch.cat([whole.places for whole in alone]).tolist()) == list(range(count))


def test_epochs_differ_and_come_back():
    order = Order(50, 50, seed=1)
    assert not torch.equal(order.places(0), order.places(1))
    assert torch.equal(order.places(1), Order(50, 10, seed=1).places(1))


def test_a_resumed_epoch_goes_on_where_it_stood():
    order = Order(23, 5, seed=2)
    whole = list(order.epoch(4))
    rest = list(order.epoch(4, first_step=3))
    assert [shard.places.tolist() for shard in rest] == [shard.places.tolist() for shard in whole[3:]]
    assert rest[0].generator().initial_seed() == whole[3].generator().initial_seed()


def test_the_parts_of_a_shard_add_up():
    shard = next(Order(10, 10, seed=3).epoch(0))
    parts = list(shard.parts(3))
    assert torch.cat([part.places for part in parts]).tolist() == shard.places.tolist()
    assert sum(float(part.weights.sum()) * part.scale for part in parts) == pytest.approx(1.0)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(SettingsError, match="a batch of 10 cannot be shared by 4 processes; expected a multiple of 4"):
        Order(100, 10, rank=0, world=4)
