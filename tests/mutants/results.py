"""What came of a run of mutmut, read from the files it leaves, and which of the survivors are equivalent."""

import ast
import difflib
import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STATUS = {0: "survived", 1: "killed", 3: "killed", 5: "not reached", 33: "not reached"}
"""By exit status of pytest; 3 is an error in pytest itself, which a mutant may cause. mutmut adds 33."""
TIMEOUTS = {-24, 24, 36, 152, 255}
"""What mutmut ends a test run with that takes too long."""


@dataclass(frozen=True)
class Mutant:
    """One changed function: `difference` has its lines before (-) and after (+) the change."""

    name: str
    function: str
    status: str
    difference: str

    @property
    def lines(self) -> set[str]:
        """The lines after the change, without indentation."""
        return {line[1:].strip() for line in self.difference.splitlines() if line.startswith("+")}


@dataclass(frozen=True)
class Known:
    """A mutant that nothing can tell from the original, by its changed line, and why."""

    module: str
    function: str
    line: str
    reason: str

    def is_of(self, module: str, mutant: Mutant) -> bool:
        return (self.module, self.function) == (module, mutant.function) and self.line in mutant.lines


@dataclass(frozen=True)
class Score:
    """A module's line of the table. `left` survived and is not known to be equivalent."""

    module: str
    counts: Counter[str]
    equivalent: int
    left: list[Mutant]
    outdated: list[Known]

    @staticmethod
    def heading() -> str:
        names = ("module", "mutants", "killed", "timed out", "survived", "of those equivalent", "score")
        return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"

    def line(self) -> str:
        total = self.counts.total()
        killed, late = self.counts["killed"], self.counts["timeout"]
        lost = total - killed - late
        share = (killed + late) / (total - self.equivalent)
        return f"| `{self.module}` | {total} | {killed} | {late} | {lost} | {self.equivalent} | {share:.1%} |"


def read_known(file: Path) -> list[Known]:
    """Return the mutants that are known to be equivalent."""
    groups = tomllib.loads(file.read_text())["equivalent"]
    return [
        Known(*place.split(".", 1), line, group["reason"])
        for group in groups
        for place, lines in group["lines"].items()
        for line in lines
    ]


def results_of(tree: Path, module: str) -> Path:
    """Return the folder that has the mutants of a module and what came of them."""
    return tree / f"mutants-{module}"


def read_mutants(tree: Path, module: str) -> list[Mutant]:
    """Return the mutants of a module of `engine` in a tree in which mutmut has run.

    Raises:
        SystemExit: mutmut has not run there, or did not come to an end.
    """
    source = results_of(tree, module) / "engine" / f"{module}.py"
    meta = source.with_suffix(".py.meta")
    if not meta.exists():
        raise SystemExit(f"{meta} is missing: mutmut has not made mutants of engine/{module}.py in {tree}")
    functions = functions_of(source.read_text())
    mutants = []
    for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
        if code is None:
            raise SystemExit(f"{name} was not run: mutmut did not come to its end in {tree}")
        status = "timeout" if code in TIMEOUTS else STATUS.get(code, f"exit status {code}")
        own = name.rpartition(".")[2]
        origin = own.rpartition("__mutmut_")[0]
        before, after = functions[f"{origin}__mutmut_orig"], functions[own]
        plain = origin.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        mutants.append(Mutant(name, plain, status, difference(before, after)))
    return mutants


def functions_of(source: str) -> dict[str, list[str]]:
    """Return the lines of each function of a source by its name, the one with its name left out of it."""
    lines = source.splitlines()
    return {
        node.name: [line.replace(node.name, "…", 1) for line in lines[node.lineno - 1 : node.end_lineno]]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }


def difference(before: Sequence[str], after: Sequence[str]) -> str:
    """Return the lines that differ."""
    changed = difflib.unified_diff(before, after, n=0, lineterm="")
    return "\n".join(line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def score(module: str, mutants: Sequence[Mutant], known: Sequence[Known]) -> Score:
    """Count what came of the mutants of a module, and set apart the survivors that are known to be equivalent."""
    counts = Counter(mutant.status for mutant in mutants)
    survived = [mutant for mutant in mutants if mutant.status not in ("killed", "timeout")]
    own = [entry for entry in known if entry.module == module]
    left = [mutant for mutant in survived if not any(entry.is_of(module, mutant) for entry in own)]
    # On a busy machine one that makes no difference may run out of time; only a test's verdict outdates its entry.
    alive = [mutant for mutant in mutants if mutant.status != "killed"]
    outdated = [entry for entry in own if not any(entry.is_of(module, mutant) for mutant in alive)]
    return Score(module, counts, len(survived) - len(left), left, outdated)
