"""`new strategy`: writes a strategy that runs, with its test and its settings, for an author to change."""

import keyword
import re
from pathlib import Path
from string import Template
from typing import NamedTuple

from config.settings import ROOT
from engine.errors import PluginError, SettingsError

HOME = ROOT / "my_strategies"
"""Where new strategies go if no folder is named."""

_TAKEN = ("strategy", "engine", "config", "feeds", "brokers", "models", "strategies", "main", "test")

_STRATEGY = Template('''"""$title: what this strategy does, in a sentence."""

from engine import Bar, Param, SettingsError, Strategy


class $kind(Strategy):
    """Hold while the close is above its slow average and the fast average rises; stand aside otherwise.

    Change this text and the rule below. What is kept from bar to bar goes through `save_state` and `load_state`.
    """

    fast: int = Param(10, ge=2, le=500, help="bars in the fast average")
    slow: int = Param(40, ge=3, le=1000, help="bars in the slow average")
    patience: int = Param(3, ge=1, le=100, help="bars below the slow average before leaving")

    def on_start(self) -> None:
        """Check parameters against each other, and declare every indicator."""
        if self.fast >= self.slow:
            raise SettingsError(f"$kind: fast is {self.fast}, slow {self.slow}; expected fast below slow")
        self.fast_line = self.indicator("SMA", "close", self.fast)
        self.slow_line = self.indicator("SMA", "close", self.slow)
        self.below = 0  # bars in a row that closed below the slow average

    def on_bar(self, bar: Bar) -> None:
        """Decide at the close of a bar, knowing nothing later; orders meet the next bar."""
        is_above = bar.close > self.slow_line[-1]
        self.below = 0 if is_above else self.below + 1
        if is_above and self.fast_line[-1] > self.fast_line[-2]:
            self.target(bar.symbol, 1.0, why="above the slow average, and rising")
        elif self.below >= self.patience:
            self.target(bar.symbol, 0.0, why=f"{self.below} bars below the slow average")

    def save_state(self) -> dict[str, int]:
        """Return what must survive a restart; it is stored as JSON."""
        return {"below": self.below}

    def load_state(self, state: dict[str, int]) -> None:
        """Take back what `save_state` returned; called after `on_start`."""
        self.below = state["below"]
''')

_TEST = Template('''"""What $kind does on bars made by hand."""

from pathlib import Path

from engine.testing import make_bars, run_bars, strategy_in

$kind = strategy_in(Path(__file__).with_name("$name.py"), "$kind")

RISING = [100.0 + bar for bar in range(12)]
FALLING = [110.0 - bar for bar in range(8)]


def test_it_buys_a_rise_and_sells_the_fall() -> None:
    result = run_bars(make_bars(RISING + FALLING), $kind(fast=2, slow=4, patience=2))
    assert [fill.side for fill in result.fills] == ["buy", "sell"]


def test_it_waits_for_its_averages() -> None:
    assert not run_bars(make_bars(RISING[:3]), $kind(fast=2, slow=4)).fills


def test_its_state_survives_a_restart() -> None:
    before, after = $kind(), $kind()
    before.load_state({"below": 2})
    after.load_state(before.save_state())
    assert after.save_state() == {"below": 2}
''')

_SETTINGS = Template('''# A backtest of $kind on a made-up market. docs/settings.md explains every setting.

[data]
source = "synthetic"
symbols = ["BTC/USDT"]
timeframe = "1h"
bars = 8760                     # a year

[strategy]
name = "$kind"
folders = ["."]

[strategy.parameters]
fast = 10
slow = 40

[account]
cash = { USDT = 10_000 }

[costs.fees]
maker = 0.001
taker = 0.001
''')


class Scaffold(NamedTuple):
    """What was written."""

    name: str
    strategy: Path
    test: Path
    settings: Path


def new_strategy(name: str, folder: Path | None = None) -> Scaffold:
    """Write a strategy, its test and its settings into a folder, which is made if need be.

    Args:
        name: in snake case (`my_cross`) or as a class (`MyCross`).
        folder: my_strategies in the checkout if None.
    Raises:
        SettingsError: the name cannot be that of a strategy.
        PluginError: one of the files is there already, or the folder cannot be written.
    """
    module, kind = _names(name)
    home = (folder or HOME).expanduser().resolve()
    made = Scaffold(module, home / f"{module}.py", home / f"test_{module}.py", home / f"{module}.toml")
    for path in made[1:]:
        if path.exists():
            raise PluginError(f"{path} is there already, and nothing is overwritten; take another name or --folder")
    words = {"name": module, "kind": kind, "title": module.replace("_", " ").capitalize()}
    texts = (_STRATEGY, _TEST, _SETTINGS)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for path, text in zip(made[1:], texts, strict=True):
            with path.open("x", encoding="utf-8") as file:
                file.write(text.substitute(words))
    except OSError as exc:
        raise PluginError(f"{home} cannot be written: {exc.strerror or exc}; name another --folder") from exc
    return made


def next_steps(made: Scaffold, python: str) -> tuple[tuple[str, str], ...]:
    """Return what to type next, each with what it does."""
    main = Path("main.py")
    if Path.cwd() != ROOT:  # from elsewhere, what is written relative to the checkout must be found too
        main, python = ROOT / main, python if Path(python).name == python else str(ROOT / python)
    strategy, test, settings = (_from_here(path) for path in made[1:])
    return (
        (f"{python} {main} backtest {settings}", "run it"),
        (f"{python} -m pytest {test}", "test it"),
        (f"{python} {main} check {strategy}", "look for leaks, forgotten state and more"),
        (f"{python} {main} check {strategy} {settings}", "the same on the market of its settings"),
    )


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(name: str) -> tuple[str, str]:
    """Return the file's name and the class's."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", snake):
        raise SettingsError(
            f"{name!r} cannot name a strategy; expected two or more letters, digits and underscores, a letter first, "
            f"such as my_cross"
        )
    if keyword.iskeyword(snake) or keyword.issoftkeyword(snake) or snake in _TAKEN or snake.startswith("test_"):
        raise SettingsError(f"{name!r} cannot name a strategy: the word is taken; expected another, such as my_{snake}")
    return snake, "".join(part.capitalize() for part in snake.split("_"))
