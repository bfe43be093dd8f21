"""Mutation testing of matching, costs and books: `python -m tests.mutants [module ...]`, or `make mutants`.

mutmut changes one small thing at a time in a module of `engine`, and runs those of its tests (`modules.toml`) that
reach the function it is in: one of them has to fail. All of it happens in a copy of the tree. What survives is printed
as the lines that changed, except where `equivalent.toml` says why the change cannot make a difference. Ends with 1 if
there is any, or if `equivalent.toml` names a mutant that a test kills.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.results import Known, Mutant, Score, read_known, read_mutants, results_of, score

ROOT = Path(__file__).parents[2]
KNOWN = Path(__file__).parent / "equivalent.toml"
MODULES = Path(__file__).parent / "modules.toml"


def copy_tree(target: Path) -> None:
    """Copy what git would keep, changes that are not committed yet among it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_mutmut(tree: Path, module: str, tests: Sequence[str], workers: int) -> None:
    """Run mutmut in a tree, at the lowest priority; its own progress goes to the terminal."""
    terms = {
        "source_paths": ["engine"],
        "only_mutate": [f"engine/{module}.py"],
        "also_copy": [path.name for path in tree.iterdir() if path.name not in ("engine", "mutants", "tests")],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:barcast", "-p", "no:xdist"],
        "pytest_add_cli_args_test_selection": [f"tests/engine/{name}.py" for name in tests],
        # A mutant may take three times as long as its tests, and five seconds: some of them loop for ever.
        "timeout_multiplier": 3.0,
        "timeout_constant": 5.0,
    }
    settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in terms.items())
    (tree / "pyproject.toml").write_text(f"{(ROOT / 'pyproject.toml').read_text()}\n[tool.mutmut]\n{settings}")
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(workers)]
    done = subprocess.run(command, cwd=tree, preexec_fn=lambda: os.nice(19))
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode} at {module}; the tree is kept in {tree}")
    (tree / "mutants").rename(results_of(tree, module))


def report(module: str, mutants: Sequence[Mutant], known: Sequence[Known]) -> Score:
    """Print what survived in a module and is not known to be equivalent, and its line of the table."""
    found = score(module, mutants, known)
    for mutant in found.left:
        sys.stdout.write(f"\n{mutant.name} ({mutant.status})\n{mutant.difference}\n")
    for entry in found.outdated:
        sys.stdout.write(f"\nequivalent.toml, {module}.{entry.function}: no survivor has the line {entry.line!r}\n")
    return found


def main() -> int:
    """Run the modules that were named, or all, and print their scores."""
    modules = tomllib.loads(MODULES.read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(modules)}; all if none is named")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tree", type=Path, help="a tree in which mutmut has run: print its results again")
    given = parser.parse_args()
    if unknown := [name for name in given.modules if name not in modules]:
        parser.error(f"there are no mutants of {unknown[0]!r}; expected some of {', '.join(modules)}")
    chosen = given.modules or list(modules)
    tree = given.tree
    if tree is None:
        tree = Path(tempfile.mkdtemp(prefix="mutants-"))
        copy_tree(tree)
        for module in chosen:
            run_mutmut(tree, module, modules[module], given.workers)
    known = read_known(KNOWN)
    scores = [report(module, read_mutants(tree, module), known) for module in chosen]
    sys.stdout.write(f"\n{Score.heading()}\n")
    for one in scores:
        sys.stdout.write(f"{one.line()}\n")
    sys.stdout.write(f"\nThe mutants are in {tree}\n")
    return 1 if any(one.left or one.outdated for one in scores) else 0


if __name__ == "__main__":
    sys.exit(main())
