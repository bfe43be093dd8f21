"""Finding strategies: by folder, by module:Class, by entry point; and what is said when they cannot be found."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import PluginError, Strategy
from strategies import registry
from strategies.buy_and_hold import BuyAndHold
from strategies.registry import ParameterInfo, address_of, available, find

ROOT = Path(__file__).parents[2]

TREND = '''
from engine import Param, Strategy

class {name}(Strategy):
    """Follow the trend.

    At length.
    """

    fast: int = Param(20, ge=2, le=500, help="bars")
'''


def write(folder: Path, file: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", "trend.py", TREND.format(name="MyTrend"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package `installed_trend` with one entry point, `trendy`."""
    site = write(tmp_path / "site", "installed_trend.py", TREND.format(name="InstalledTrend"))
    info = site / "installed_trend-1.0.dist-info"
    write(info, "METADATA", "Metadata-Version: 2.1\nName: installed-trend\nVersion: 1.0\n")
    write(info, "entry_points.txt", "[barcast.strategies]\ntrendy = installed_trend:InstalledTrend\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("installed_trend", None)


# ── found ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["buy_and_hold", "BuyAndHold", "strategies.buy_and_hold:BuyAndHold"])
def test_built_in_strategies_go_by_class_file_or_module_name(name: str) -> None:
    assert find(name) is BuyAndHold


@pytest.mark.parametrize("name", ["MyTrend", "my_trend", "trend"])
def test_strategies_of_a_folder_go_by_class_name_snake_case_or_file(folder: Path, name: str) -> None:
    assert find(name, [folder]).__name__ == "MyTrend"
    assert find(name, [str(folder)])(fast=3).parameters == {"fast": 3}


@pytest.mark.parametrize("name", ["trendy", "InstalledTrend", "installed_trend", "installed_trend:InstalledTrend"])
def test_installed_strategies_go_by_entry_point_or_class(package: Path, name: str) -> None:
    assert find(name).__module__ == "installed_trend"


def test_the_same_strategy_is_the_same_class_every_time(folder: Path) -> None:
    first = find("my_trend", [folder])
    assert find("MyTrend", [folder, folder / ".." / "mine"]) is first


def test_a_file_imported_under_its_own_name_gives_that_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(write(folder, "imported_first.py", TREND.format(name="First"))))
    by_reference = find("imported_first:First")
    assert find("First", [folder]) is by_reference
    sys.modules.pop("imported_first")


def test_a_file_loaded_from_a_folder_is_not_loaded_again_by_reference(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_folder = find("my_trend", [folder])
    monkeypatch.syspath_prepend(str(folder))
    assert find("trend:MyTrend") is by_folder


def test_files_of_a_folder_may_import_one_another(folder: Path) -> None:
    write(folder, "_shared.py", "DEPTH = 7\n")
    text = "from engine import Strategy\nfrom ._shared import DEPTH\nclass Deep(Strategy):\n    d = DEPTH\n"
    write(folder, "deep.py", text)
    assert find("deep", [folder]).d == 7  # type: ignore[attr-defined]


def test_files_of_one_name_in_two_folders_stay_apart(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", "trend.py", TREND.format(name="OtherTrend"))
    assert find("MyTrend", [folder, other]).__name__ == "MyTrend"
    assert find("OtherTrend", [folder, other]).__name__ == "OtherTrend"


def test_imported_abstract_and_private_classes_are_not_listed(folder: Path) -> None:
    text = (
        "from abc import abstractmethod, ABC\n"
        "from engine import Strategy\n"
        "from strategies.buy_and_hold import BuyAndHold\n"
        "class _Base(Strategy): ...\n"
        "class Unfinished(Strategy, ABC):\n    @abstractmethod\n    def rule(self): ...\n"
        "class Finished(Unfinished):\n    def rule(self): ...\n"
    )
    write(folder, "several.py", text)
    assert {info.class_name for info in available([folder]) if info.source == str(folder)} == {"MyTrend", "Finished"}


# ── listed ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_listing_tells_what_a_user_needs_to_know(folder: Path, package: Path) -> None:
    listed = {info.class_name: info for info in available([folder])}
    mine = listed["MyTrend"]
    assert (mine.name, mine.doc, mine.file, mine.source, mine.fault) == (
        "my_trend", "Follow the trend.", folder / "trend.py", str(folder), ""
    )
    assert mine.parameters == (ParameterInfo("fast", "int", 20, "≥ 2, ≤ 500", "bars"),)
    assert listed["BuyAndHold"].source == "built in"
    assert listed["InstalledTrend"].source == "entry point trendy of installed-trend"


def test_every_built_in_strategy_is_sound_and_described() -> None:
    infos = [info for info in available() if info.source == "built in"]
    assert {info.name for info in infos} >= {
        "buy_and_hold", "pairs", "rsi_reversion", "sma_cross", "sma_cross_targets", "top_k_dropout"
    }
    for info in infos:
        assert info.fault == ""
        assert info.doc.endswith(".")
        assert all(parameter.help for parameter in info.parameters)


def test_broken_files_are_listed_with_their_line_and_the_rest_still_works(folder: Path) -> None:
    write(folder, "typo.py", "from engine import Strategy\n\nclass Typo(Strategy)\n    pass\n")
    write(folder, "lost.py", "import engine\nimport no_such_library_at_all\n")
    write(folder, "rude.py", "import sys\nsys.exit('bye')\n")
    write(folder, "untyped.py", "from engine import Param, Strategy\nclass Untyped(Strategy):\n    fast = Param(3)\n")
    faults = {info.name: info.fault for info in available([folder]) if info.source == str(folder)}
    assert faults["my_trend"] == ""
    assert faults["typo"] == f"{folder / 'typo.py'}, line 3: SyntaxError: expected ':'"
    assert faults["lost"] == (
        f"{folder / 'lost.py'}, line 2: ModuleNotFoundError: No module named 'no_such_library_at_all'"
    )
    assert faults["rude"] == f"{folder / 'rude.py'}, line 2: SystemExit: bye"
    assert faults["untyped"].startswith("Untyped: parameter fast has no type")
    assert find("my_trend", [folder]).__name__ == "MyTrend"


def test_a_broken_entry_point_is_listed_as_broken(package: Path) -> None:
    write(package, "installed_trend.py", "import no_such_library_at_all\n")
    (info,) = (info for info in available() if info.name == "trendy")
    assert info.source == "entry point trendy of installed-trend"
    assert "No module named 'no_such_library_at_all'" in info.fault


def test_namesakes_are_listed_as_such(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", "trend.py", TREND.format(name="MyTrend"))
    faults = [info.fault for info in available([folder, other]) if info.class_name == "MyTrend"]
    assert len(faults) == 2
    assert all("two strategies are called 'MyTrend'" in fault for fault in faults)


# ── not found ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sma_crss", r"unknown strategy 'sma_crss'; did you mean 'sma_cross'\? \(there are: buy_and_hold, "),
        ("BuyAndHodl", r"unknown strategy 'BuyAndHodl'; did you mean 'BuyAndHold'\?"),
        ("xyz", r"unknown strategy 'xyz' \(there are: buy_and_hold, "),
        ("strategies.pairs:Pair", r"pairs:Pair: no 'Pair'; did you mean 'Pairs'\? \(its strategies: Pairs\)"),
        ("strategies.pair:Pairs", r"there is no module 'strategies\.pair'; is the folder it lies in on PYTHONPATH\?"),
        ("no_such_package.deep:A", r"there is no module 'no_such_package'; is the folder"),
        ("json:dumps", r"json:dumps is a function; expected a class derived from engine\.Strategy"),
        ("decimal:Decimal", r"decimal:Decimal is the class Decimal; expected a class derived from engine\.Strategy"),
        ("engine:Strategy", r"engine:Strategy is the class Strategy; expected a class derived"),
        (":A", r"strategy ':A' is not understood; expected a name, or module:Class"),
        ("a:", r"strategy 'a:' is not understood"),
    ],
)
def test_what_is_not_found_gets_a_way_out(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        find(name)


def test_two_classes_of_one_name_are_refused_with_both_modules(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", "again.py", TREND.format(name="MyTrend"))
    with pytest.raises(PluginError) as caught:
        find("my_trend", [folder, other])
    message = str(caught.value)
    assert message.startswith("two strategies are called 'my_trend': ")
    assert f"trend:MyTrend ({folder / 'trend.py'}) and " in message
    assert f"again:MyTrend ({other / 'again.py'}); rename one" in message


def test_a_missing_folder_is_refused_with_the_nearest_that_there_is(folder: Path) -> None:
    with pytest.raises(PluginError, match=r"strategy folder .*/mien does not exist; did you mean 'mine'\?"):
        find("my_trend", [folder.parent / "mien"])
    with pytest.raises(PluginError, match=r"strategy folder .*/a/b does not exist$"):
        available([folder / "a" / "b"])
    with pytest.raises(PluginError, match=r"trend\.py is a file; name the folder it lies in"):
        find("my_trend", [folder / "trend.py"])


def test_asking_for_a_broken_file_by_name_tells_its_fault(folder: Path) -> None:
    write(folder, "broken.py", "from engine import Strategy\nclass Broken(Strategy):\n    x = 1 / 0\n")
    with pytest.raises(PluginError, match=r"broken\.py, line 3: ZeroDivisionError: division by zero"):
        find("broken", [folder])
    with pytest.raises(PluginError, match=r"unknown strategy 'nothing' .*; not loaded: .*broken\.py, line 3"):
        find("nothing", [folder])


def test_a_repaired_file_is_loaded_anew(folder: Path) -> None:
    write(folder, "broken.py", "from engine import Stratgy\n")
    with pytest.raises(PluginError, match=r"broken\.py, line 1: ImportError: cannot import name 'Stratgy'"):
        find("broken", [folder])
    write(folder, "broken.py", TREND.format(name="Mended"))
    assert find("Mended", [folder]).__name__ == "Mended"


def test_a_reference_to_a_module_that_fails_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(write(tmp_path, "failing_module.py", "\n\nraise RuntimeError('no luck')\n")))
    with pytest.raises(PluginError, match=r"failing_module\.py, line 3: RuntimeError: no luck"):
        find("failing_module:Anything")


# ── for workers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_process_finds_the_class_by_its_address(folder: Path) -> None:
    address = address_of(find("my_trend", [folder]))
    assert address == ("MyTrend", (str(folder),))
    code = f"from strategies.registry import find; print(find(*{tuple(address)!r}).__doc__.split()[0])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed == "Follow\n"


def test_addresses_of_built_in_and_importable_classes_need_no_folder(package: Path) -> None:
    assert address_of(BuyAndHold) == ("BuyAndHold", ())
    assert address_of(find("trendy")) == ("installed_trend:InstalledTrend", ())
    for strategy in (BuyAndHold, find("trendy")):
        assert find(*address_of(strategy)) is strategy


def test_a_class_made_inside_a_function_has_no_address() -> None:
    class Local(Strategy): ...

    with pytest.raises(PluginError, match=r"Local of .* cannot be loaded elsewhere; put it in a file"):
        address_of(Local)


@pytest.mark.parametrize(
    ("name", "snake"),
    [("SmaCross", "sma_cross"), ("TopKDropout", "top_k_dropout"), ("RSIFade", "rsi_fade"), ("Mean2Dev", "mean2_dev")],
)
def test_class_names_turn_into_snake_case(name: str, snake: str) -> None:
    assert registry._snake_case(name) == snake
