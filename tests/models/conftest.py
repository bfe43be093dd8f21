"""Where the golden tensors are, and one thread for torch."""

from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden tensors."""
    if not GOLDEN.is_dir():
        pytest.skip(f"{GOLDEN} is not there: golden tensors are kept beside the repository")
    return GOLDEN
