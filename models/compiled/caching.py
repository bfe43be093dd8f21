"""numba's compiler, with a cache on the disk that notices a change anywhere in this package.

numba's own looks at the file of a function alone; what the function calls, and the instructions that other files write
for it, would stay as they were.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
DIGEST = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Return a decorator: numba's njit with a cache.

    Args:
        options: njit's.
    """

    def decorate(function: Any) -> Any:
        made = njit(cache=True, **options)(function)
        file = made._cache._cache_file
        file._source_stamp = (file._source_stamp, DIGEST)
        return made

    return decorate
