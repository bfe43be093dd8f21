"""A peer that lives in another virtual environment: a process that does its work once for each line it is sent.

The process is one of the scripts beside this file, run by that environment's Python. It reads a file of tensors, prints
"ready", and for every line on its input does its work once and prints a line of JSON: {"cpu": seconds, "wall": seconds,
"outcome": …}.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class PeerProcess:
    """Starts the script on entering; `turn` fits `take_turns`.

    Args:
        environment: the virtual environment; script: its file; tensors: what the script is given, kept in `folder`.
    Raises:
        SystemExit: the environment or the library is not there.
    """

    def __init__(self, environment: Path, script: Path, tensors: Mapping[str, Tensor], folder: Path) -> None:
        self._python = environment / "bin" / "python"
        if not self._python.exists():
            raise SystemExit(f"--peers {environment}: there is no bin/python; expected a virtual environment")
        self._script = script
        self._input = folder / "tensors.pt"
        torch.save(dict(tensors), self._input)

    def __enter__(self) -> "PeerProcess":
        self._process = subprocess.Popen(
            [self._python, self._script, self._input], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._line() != "ready":
            self._process.communicate()
            raise SystemExit(f"{self._script.name} did not start under {self._python}; what it said stands above")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def turn(self) -> tuple[Any, float, float]:
        """Have the work done once; return its outcome, and CPU and wall seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        answer = json.loads(self._line())
        return answer["outcome"], answer["cpu"], answer["wall"]

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
