"""A warm start says what it took, finds rows by name, and refuses too little."""

import pytest
import torch
from torch import nn

from engine.errors import PluginError
from models.training.warm_start import warm_start


def network(names: int, size: int = 3) -> nn.Module:
    return nn.ModuleDict({"symbols": nn.Embedding(names, size), "out": nn.Linear(size, 1)})


def test_rows_of_a_table_are_found_by_name():
    old, new = network(3), network(4)
    fresh = new["symbols"].weight.detach().clone()
    tables = {"symbols.weight": {"BTC": 1, "SOL": 2, "ETH": 3}}
    made = warm_start(new, old.state_dict(), tables=tables, old_vocabularies={"symbol": {"ETH": 1, "BTC": 2}})

    rows, before = new["symbols"].weight, old["symbols"].weight
    assert torch.equal(rows[3], before[1])
    assert torch.equal(rows[1], before[2])
    assert torch.equal(rows[0], before[0]), "unknown names keep their row"
    assert torch.equal(rows[2], fresh[2]), "a name it has never seen is fresh"
    assert made.remapped == {"symbols.weight": (3, 4)}
    assert str(made) == "warm start: 81% of the network, 2 parameters; symbols.weight: 3 of 4 rows by name"


def test_what_is_missing_or_of_another_shape_is_told_and_too_little_refused():
    old = network(3).state_dict()
    del old["out.bias"]
    with pytest.raises(PluginError, match=r"missing: out.bias; of another shape: symbols.weight \[3, 3\] ≠ \[9, 3\]; "
                                          r"expected 50% at least"):
        warm_start(network(9), old)
