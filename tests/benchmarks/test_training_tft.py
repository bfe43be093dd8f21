"""The benchmark of the transformer's training compares like with like."""

from benchmarks.training_tft import works


def test_loader_and_steps_come_out_equal_to_their_stand_ins():
    loader, steps = works(is_quick=True).rows
    assert loader.equal
    assert steps.equal
    assert (loader.target, steps.target) == (None, None)
