"""The authors' guide: every block of docs/strategies.md is run."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine import Bars, Strategy, Stream
from engine.bars import HOUR

GUIDE = Path(__file__).parents[2] / "docs" / "strategies.md"


class Block(NamedTuple):
    language: str
    text: str
    market: str
    line: int


def blocks() -> list[Block]:
    text = GUIDE.read_text()
    found = re.finditer(r"(?:<!-- run: (\w+) -->\n)?```(\w*)\n(.*?)```", text, re.DOTALL)
    return [Block(match[2], match[3], match[1] or "", text[: match.start(3)].count("\n") + 1) for match in found]


def of(language: str) -> Any:
    chosen = [block for block in blocks() if block.language == language]
    return pytest.mark.parametrize("block", chosen, ids=[f"line {block.line}" for block in chosen])


def strategies_of(block: Block) -> list[type[Strategy]]:
    """Run a block as a module and return the strategies it defines."""
    namespace: dict[str, Any] = {"__name__": "guide"}
    exec(compile("\n" * block.line + block.text, str(GUIDE), "exec"), namespace)
    return [
        value for value in namespace.values()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == "guide"
    ]


def market(tools: Any, name: str) -> list[Bars]:
    one = tools.bars_of("BTC", tools.walk(900, 4), wick=0.004)
    markets: dict[str, Callable[[], list[Bars]]] = {
        "one": lambda: [one],
        "frames": lambda: [one, four_hours(one)],
        "many": lambda: [tools.bars_of(f"S{seed}", tools.walk(300, seed), wick=0.004) for seed in range(6)],
    }
    return markets[name]()


def four_hours(bars: Bars) -> Bars:
    """Return 4h bars made of 1h bars."""
    close = bars.close[3::4]
    high, low = (getattr(bars, name)[: 4 * len(close)].reshape(-1, 4) for name in ("high", "low"))
    return Bars(
        (Stream("BTC", "4h"),), bars.open_time[::4][: len(close)], bars.open_time[::4][: len(close)] + 4 * HOUR,
        bars.open[::4][: len(close)], high.max(axis=1), low.min(axis=1), close, bars.volume[3::4],
    )


@of("python")
def test_every_strategy_of_the_guide_runs_and_trades(tools: Any, block: Block) -> None:
    found = strategies_of(block)
    assert found
    assert block.market, "say on which market the block is to run, or none"
    if block.market == "none":
        return
    for kind in found:
        assert kind.__doc__
        ran = tools.run(kind(), *market(tools, block.market), fee="0.0005")
        assert ran.fills, f"{kind.__name__} never traded"


@of("toml")
def test_the_settings_of_the_guide_are_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


def test_the_first_strategy_runs_from_its_folder_with_the_settings_shown(tmp_path: Path) -> None:
    from config.settings import load_settings
    from strategies.registry import find

    first = next(block for block in blocks() if block.language == "python")
    settings = next(block for block in blocks() if block.language == "toml")
    (tmp_path / "my_strategies").mkdir()
    (tmp_path / "my_strategies" / "cross.py").write_text(first.text)
    (tmp_path / "cross.toml").write_text(settings.text)
    loaded = load_settings(tmp_path / "cross.toml").strategy
    assert find(loaded.name, loaded.folders)(**loaded.parameters).parameters == {"fast": 10, "slow": 50}


def test_the_guide_shows_every_handler_and_every_wish() -> None:
    text = GUIDE.read_text()
    handlers = {name for name in vars(Strategy) if name.startswith("on_")}
    wishes = {"target", "targets", "buy", "sell", "cancel_all", "amend", "close", "indicator", "history", "set_timer"}
    assert [name for name in sorted(handlers | wishes) if not re.search(rf"\b{name}\b", text)] == []
