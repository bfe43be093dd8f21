"""The speed of training: `python benchmarks/training.py [--json PATH] [--markdown] [--quick]`.

One thread for every library, as benchmarks/engine.py. Equality comes first: the same steps, the same weights.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.training_command import main

    raise SystemExit(main(sys.argv[1:]))
