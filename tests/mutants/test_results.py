"""What came of mutants is read right, and the list of equivalent ones names code that is there."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.mutants.__main__ import KNOWN, MODULES, ROOT
from tests.mutants.results import Known, read_known, read_mutants, score

SOURCE = """
def x_worth__mutmut_orig(price, size):
    return price * size


def x_worth__mutmut_1(price, size):
    return price / size


def x_worth__mutmut_2(price, size):
    return size * price
"""


def tree(folder: Path, codes: dict[str, int | None]) -> Path:
    results = folder / "mutants-books" / "engine"
    results.mkdir(parents=True)
    (results / "books.py").write_text(SOURCE)
    names = {f"engine.books.x_worth__mutmut_{number}": code for number, code in codes.items()}
    (results / "books.py.meta").write_text(json.dumps({"exit_code_by_key": names}))
    return folder


def test_a_survivor_counts_unless_it_is_known_to_be_equivalent(tmp_path: Path) -> None:
    mutants = read_mutants(tree(tmp_path, {"1": 0, "2": 0}), "books")
    same = Known("books", "worth", "return size * price", "factors may be exchanged")
    found = score("books", mutants, [same])
    assert [mutant.name for mutant in found.left] == ["engine.books.x_worth__mutmut_1"]
    assert found.left[0].difference == "-    return price * size\n+    return price / size"
    assert found.line() == "| `books` | 2 | 0 | 0 | 2 | 1 | 0.0% |"
    assert score("books", mutants, []).left == mutants


@pytest.mark.parametrize(("code", "status"), [(1, "killed"), (3, "killed"), (-24, "timeout"), (33, "not reached")])
def test_how_the_tests_ended_says_what_became_of_a_mutant(tmp_path: Path, code: int, status: str) -> None:
    first, second = read_mutants(tree(tmp_path, {"1": code, "2": 1}), "books")
    assert (first.status, second.status) == (status, "killed")
    found = score("books", [first, second], [Known("books", "worth", "return size * price", "")])
    assert bool(found.left) is (status == "not reached")
    assert len(found.outdated) == 1, "what is said to be equivalent was killed"


def test_one_that_ran_out_of_time_may_be_equivalent(tmp_path: Path) -> None:
    mutants = read_mutants(tree(tmp_path, {"1": 1, "2": -24}), "books")
    assert score("books", mutants, [Known("books", "worth", "return size * price", "")]).outdated == []


def test_a_run_that_did_not_come_to_its_end_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="x_worth__mutmut_1 was not run: mutmut did not come to its end"):
        read_mutants(tree(tmp_path, {"1": None, "2": 1}), "books")
    with pytest.raises(SystemExit, match="mutmut has not made mutants of engine/costs.py"):
        read_mutants(tmp_path, "costs")


def test_what_is_said_to_be_equivalent_is_about_functions_that_are_there() -> None:
    for entry in read_known(KNOWN):
        source = (ROOT / "engine" / f"{entry.module}.py").read_text()
        name = entry.function.rpartition(".")[2]
        assert f"def {name}(" in source, f"{entry.module}.{entry.function}"


def test_the_tests_of_each_module_are_there() -> None:
    for module, tests in tomllib.loads(MODULES.read_text()).items():
        assert (ROOT / "engine" / f"{module}.py").is_file()
        assert [name for name in tests if not (ROOT / "tests" / "engine" / f"{name}.py").is_file()] == []
