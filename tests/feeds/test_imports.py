"""Feeds load nothing heavy before it is used: the command line has to answer at once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ccxt", "vectorbt", "pandas", "pyarrow", "numba", "scipy", "fsspec")


def loaded_by(program: str) -> set[str]:
    """Return which heavy packages a program loads."""
    told = f"{program}\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_no_module_loads_anything_heavy() -> None:
    modules = sorted(path.stem for path in (ROOT / "feeds").glob("*.py") if path.stem != "__init__")
    assert loaded_by("\n".join(f"import feeds.{module}" for module in modules)) == set()


def test_reading_a_catalog_does_not_load_pandas(tmp_path: Path) -> None:
    program = f"""
from feeds.catalog import Catalog
from feeds.synthetic import SyntheticFeed, SyntheticMarket
catalog = Catalog({str(tmp_path / "bars")!r})
catalog.write_feed(SyntheticFeed(SyntheticMarket(rows=100)))
"""
    loaded_by(program)
    reading = f"""
from feeds.catalog import Catalog
feed = Catalog({str(tmp_path / "bars")!r}).feed(["SYN/USDT"], "1m")
assert sum(len(chunk) for chunk in feed.chunks()) == len(feed.column(feed.streams[0], "close")) == 100
"""
    assert loaded_by(reading) == {"pyarrow"}
