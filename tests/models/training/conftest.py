"""The small recipe as a module: tests are no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SMALL = Path(__file__).with_name("small.py")


@pytest.fixture(scope="session")
def small() -> ModuleType:
    spec = importlib.util.spec_from_file_location("barcast_small_recipe", SMALL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
