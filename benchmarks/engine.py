"""The speed of the engine beside its peers: `python benchmarks/engine.py [--json PATH] [--markdown] [--quick]
[--only NAME]`.

This file only starts benchmarks/command.py, and sees to two things before anything else is imported: that every library
uses one thread, and that `import engine` finds the package and not this file.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.command import main

    raise SystemExit(main(sys.argv[1:]))
