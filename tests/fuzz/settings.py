"""Settings files and `--set` options, damaged: settings, or one SettingsError that names the file."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pydantic import BaseModel

from config.faults import sections_in
from config.settings import Settings, load_settings
from tests.fuzz.cases import Finding, ours
from tests.fuzz.damage import WAYS
from tests.fuzz.files import Draft

VALUES = (
    "0",
    "1",
    "-1",
    "0.5",
    "1e400",
    "-inf",
    "nan",
    "true",
    "[]",
    "{}",
    '""',
    "[1, 2]",
    '["1h"]',
    "9" * 30,
    "9" * 5_000,
    "1_000",
    "0x1F",
    "0b1",
    "2024-01-31",
    "2024-02-30",
    "2024-01-31T00:00:00",
    "2024-01-31T00:00:00Z",
    "07:32:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    '"1h"',
    '"99999999999w"',
    '"sNaN"',
    '"1e999999999"',
    '"٣"',
    '"\\u0000"',
    '"a\\u0000b"',
    '"~nobody-of-that-name/x"',
    '"' + "x" * 5_000 + '"',
    "'''a\nb'''",
    '"\\uD800"',
    "{ a = 1 }",
    '{ kind = "x" }',
    '{ source = "files" }',
    "[" * 3_000 + "]" * 3_000,
    "{ a = " * 1_500,
    '["a", 1]',
    '{ USDT = "nan" }',
    '{ "" = 1 }',
    '"BTC/USDT"',
    '"../../../x"',
    "none",
    "a b",
    "",
    " ",
    "=",
    '"',
    "#",
    "\x00",
    "\x7f",
)
LINES = (
    "[data]",
    "[data.layout]",
    "[[data]]",
    "[data.data]",
    "[strategy.parameters]",
    '[instruments."BTC/USDT"]',
    "[run",
    "a = 1",
    "data = 3",
    "= 1",
    '"" = 1',
    "run.seed = 3",
    "run.seed.x = 3",
    "\ufeff",
    "[" + ".".join("a" * 2_000) + "]",
    "x = " + "[" * 5_000,
    '[""]',
    "\x00",
    "[costs.fees]",
    '[data]\nsource = "files"\npaths = ["\\u0000"]',
)
KEYS = (
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    '"',
    '"a',
    "a b",
    "a\nb",
    "[x]\n[y]\nb",
    "[[x]]\nb",
    "#",
    "é",
    "x" * 3_000,
    "a." * 3_000 + "a",
)


@dataclass(frozen=True)
class SettingsCase:
    """A file of settings, damaged in some ways, with some overrides."""

    ways: tuple[str, ...]
    overrides: int
    seed: int


def draw(random: Random) -> SettingsCase:
    """Return a case by chance."""
    ways = random.choices(("flip", "cut", "splice", "value", "line", "form"), k=random.choice((0, 1, 1, 2, 3)))
    return SettingsCase(tuple(ways), random.choice((0, 0, 1, 2)), random.randrange(2**32))


def run(case: SettingsCase, folder: Path) -> str:
    """Load a case; return "read" or "refused".

    Raises:
        Finding: an error that is not ours, a hang, or settings that say something else when they are read again.
    """
    random = Random(f"{case.seed}")
    made = Draft("fuzzed.toml", "json", None, [], content=_text(random).encode())
    for way in case.ways:
        _damage(made, way, random)
    overrides = [_override(random) for _ in range(case.overrides)]
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / made.name
        path.write_bytes(made.content or b"")
        about = f"settings {case} {[text[:60] for text in overrides]}"
        loaded = ours(lambda: load_settings(path, overrides), about)
        if isinstance(loaded, Settings):
            again = ours(lambda: load_settings(path, overrides), about)
            if repr(again) != repr(loaded):  # not a number is unlike itself
                raise Finding(f"{about} | another result the second time")
            return "read"
        text = str(loaded)
        if made.name not in text and "--set" not in text:
            raise Finding(f"{about} | neither the file nor the override is named: {text[:300]}")
    return "refused"


def known_keys() -> list[str]:
    """Return every setting there is, dotted."""

    def below(section: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            sections = sections_in(field.annotation)
            found += [key for inner in sections for key in below(inner, f"{prefix}{name}.")] or [f"{prefix}{name}"]
        return found

    return sorted(set(below(Settings, "")))


def _text(random: Random) -> str:
    lines = [
        "[data]",
        'source = "synthetic"',
        "bars = 50",
        'symbols = ["BTC/USDT"]',
        'timeframe = "1h"',
        "[strategy]",
        'name = "SmaCross"',
        "[strategy.parameters]",
        "fast = 3",
        "slow = 5",
        "[account]",
        "cash = { USDT = 10_000 }",
        "[costs.fees]",
        "maker = 0.001",
        "taker = 0.001",
        '[instruments."BTC/USDT"]',
        'quote = "USDT"',
    ]
    if random.random() < 0.3:
        lines[0:1] = [f"{random.choice(known_keys())} = {random.choice(VALUES)}", "[data]"]
    return "\n".join(lines) + "\n"


def _damage(made: Draft, way: str, random: Random) -> None:
    if way in ("flip", "cut", "splice"):
        WAYS[way](made, random)
        return
    lines = (made.content or b"").decode(errors="replace").split("\n")
    place = random.randrange(len(lines))
    if way == "value":
        lines[place] = f"{lines[place].partition('=')[0]}= {random.choice(VALUES)}"
    elif way == "line":
        lines.insert(place, random.choice(LINES))
    encoding = random.choice(("utf-8-sig", "utf-16", "latin-1")) if way == "form" else "utf-8"
    made.content = "\n".join(lines).encode(encoding, errors="replace")


def _override(random: Random) -> str:
    key = random.choice(KEYS) if random.random() < 0.2 else random.choice(known_keys())
    return random.choice((f"{key}={random.choice(VALUES)}", f"{key} = {random.choice(VALUES)}", key, f"{key}.x=1"))
