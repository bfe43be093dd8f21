"""A line for every training run under one name: what it came to, for stages that follow one another."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = "stages"


def add_summary(folder: Path, name: str, now: int, facts: Mapping[str, Any]) -> Path:
    """Add a run's line to <folder>/stages/<name>.jsonl, and return the file. Lines are only ever added.

    Args:
        now: UTC ns. facts: JSON-ready: the run, its metric, the best epoch …
    """
    line = {"ended": datetime.fromtimestamp(now // 10**9, UTC).isoformat(), **facts}
    path = folder / FOLDER / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: None if value != value else value for key, value in line.items()})
    # One write of one line: two runs that end at once do not cut into each other's.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)
    return path
