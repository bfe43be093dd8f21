"""Machine code on the disk is taken only as long as nothing in the package has changed."""

import pytest

from models.compiled.attention import attend
from models.compiled.between import gated, normed
from models.compiled.caching import DIGEST
from models.compiled.keeping import keep, turn
from models.compiled.products import _narrow, _wide


@pytest.mark.parametrize("loop", [_narrow, _wide, attend, keep, turn, gated, normed])
def test_every_loop_is_kept_under_the_digest_of_all_sources(loop):
    assert loop._cache._cache_file._source_stamp[1] == DIGEST


def test_what_was_kept_under_another_digest_is_not_taken(tmp_path):
    file = _wide._cache._cache_file
    mine = type(file)(str(tmp_path), "loop", file._source_stamp)
    mine.save("key", "code")
    other = type(file)(str(tmp_path), "loop", (file._source_stamp[0], "another"))

    assert mine.load("key") == "code"
    assert other.load("key") is None
