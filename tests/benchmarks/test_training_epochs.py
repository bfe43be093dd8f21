"""The benchmark of whole trainings has every network, and each run twice leaves the same weights."""

from benchmarks.training_epochs import works


def test_every_network_has_its_epochs_and_its_memory():
    rows = works(is_quick=True).rows
    names = ("krnn", "tft", "kronos-tokenizer", "kronos", "price", "position")
    assert {row.work.split(",")[0] for row in rows if row.unit == "epochs/min"} == set(names)
    assert {row.work for row in rows if row.unit == "MB"} <= {f"{name}, memory" for name in names}
    assert all(row.equal for row in rows)
    assert all(row.ours > 0 for row in rows if row.unit == "epochs/min")
    # By how much the process grew: not at all, where it had been as large before.
    assert all(row.ours >= 0 for row in rows if row.unit == "MB")
