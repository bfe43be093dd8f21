"""The speed of the networks beside their peers: `python benchmarks/models.py [--json PATH] [--markdown] [--quick]
[--only NAME] [--full] [--peers VENV]`.

This file only starts benchmarks/models_command.py; as benchmarks/engine.py does, it sees to one thread for every
library and to the path before anything else is imported.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.models_command import main

    raise SystemExit(main(sys.argv[1:]))
