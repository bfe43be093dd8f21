"""What the documentation repeats of the code: docs/settings.md, and the README's table of simplifications.

    make docs
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.faults import chooser_of, sections_in, tag_of
from config.settings import ROOT, FillSettings, Settings
from config.training_settings import TrainingSettings
from engine.analysis.assumptions import SIMPLIFICATIONS
from engine.semantics import CHOICES

PAGE = ROOT / "docs" / "settings.md"
README = ROOT / "README.md"
TRAINING = ROOT / "docs" / "training_settings.md"

_HEAD = """\
# Settings

Made from `config/settings.py` by `make docs`; a test holds the two equal.

A run is described by one TOML file; `config/examples/` has one per sample strategy. Money is in the account's
currency, prices in quote currency, rates are fractions of notional (0.001 is 0.1 %), times are UTC. Relative paths are
relative to the settings file. A name that is not in this list is refused, with the nearest one that is. Secrets
(passwords, keys) are never settings: they come from the environment.

`--set key.name=value` on the command line changes one setting; the value is TOML, and text that is no TOML value is
taken as a string: `--set data.seed=7 --set data.timeframe=5m --set 'instruments."BTC/USDT".price_increment="0.01"'`.
"""


_TRAINING_HEAD = """\
# Settings of training

Made from `config/training_settings.py` by `make docs`; a test holds the two equal. [training.md](training.md) explains
them. `[data]` and `[costs]` are those of a run: [settings.md](settings.md). `timeframe`, outside of any table, names
the bars that are learned from, the data's first if left out. A setting that is left out and has no default is the
recipe's own.
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    return "\n".join([_HEAD, *_tables(Settings, "")])


def training_page() -> str:
    """Return docs/training_settings.md."""
    return "\n".join([_TRAINING_HEAD, *_tables(TrainingSettings, "", without=("data", "costs"))])


def _tables(section: type[BaseModel], path: str, without: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the tables below a section, each under its heading, the nested ones after their parents."""
    for name, field in section.model_fields.items():
        if name in without:
            continue
        below = sections_in(field.annotation)
        if not below:
            continue
        here = f"{path}{name}"
        yield f"{'##' if not path else '###'} [{_heading(here, field)}]\n"
        yield f"{_sentence(field.description)}\n"
        first = below[0]
        shared = [name for name in first.model_fields if all(_same(name, first, other) for other in below)]
        for choice in below:
            if len(below) > 1:
                yield f"**`{chooser_of(choice)} = \"{tag_of(choice)}\"`**: {_lower(choice.__doc__)}\n"
            names = [name for name in choice.model_fields if len(below) == 1 or name not in shared]
            yield from _rows(choice, names, is_chosen=len(below) > 1)
        if len(below) > 1 and len(shared) > 1:
            yield f"With any `{chooser_of(first)}`:\n"
            yield from _rows(first, shared, is_chosen=True)
        for choice in below:
            yield from _tables(choice, f"{here}.")


def _same(setting: str, one: type[BaseModel], other: type[BaseModel]) -> bool:
    """Return whether two sections have a setting in common, the default aside."""
    fields = [section.model_fields.get(setting) for section in (one, other)]
    return fields[0] is not None and fields[1] is not None and fields[0].description == fields[1].description


def _rows(section: type[BaseModel], names: list[str], *, is_chosen: bool) -> Iterator[str]:
    """Yield a table of settings; of a section that is one of several, without the setting that chooses it."""
    rows = [
        f"| `{name}` | {_default(field)} | {field.description}{_choices(section, name, field)} |"
        for name, field in section.model_fields.items()
        if name in names and not (is_chosen and name == chooser_of(section)) and not sections_in(field.annotation)
    ]
    if rows:
        yield from ("| setting | default | meaning |", "|---|---|---|", *rows, "")


def _choices(section: type[BaseModel], name: str, field: FieldInfo) -> str:
    """Return the values to choose from, if there are any; the first of a switch is the default profile's."""
    annotation = field.annotation
    parts = [kind for kind in get_args(annotation) if kind is not type(None)]
    if get_origin(annotation) is not Literal and len(parts) == 1:  # a choice, or none
        annotation = parts[0]
    switches = CHOICES if section is FillSettings else {}
    choices = switches.get(name) or (get_args(annotation) if get_origin(annotation) is Literal else ())
    return f"; one of {', '.join(f'`{choice}`' for choice in choices)}" if choices else ""


def _heading(path: str, field: FieldInfo) -> str:
    kind = str(field.annotation)
    if "dict[" in kind:
        return f'{path}."SYMBOL"'
    return f"[{path}]" if "tuple[" in kind else path


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    match value:
        case bool():
            text = str(value).lower()
        case Decimal() | int() | float():
            text = f"{value:f}" if isinstance(value, Decimal) else f"{value}"
        case tuple():
            text = ", ".join(f'"{item}"' for item in value)
        case Path():
            text = f'"{value.relative_to(ROOT)}"'
        case datetime():
            text = value.date().isoformat()
        case _:
            text = f'"{value}"'.replace(f"{ROOT}/", "")
    return f"`{text}`"


def _sentence(text: str | None) -> str:
    return f"{(text or '')[:1].upper()}{(text or '')[1:]}."


def _lower(text: str | None) -> str:
    line = (text or "").splitlines()[0]
    return f"{line[:1].lower()}{line[1:]}"


def readme_page(text: str) -> str:
    """Return the README with the table of what the simulator leaves out as the report has it."""
    rows = [f"| {' | '.join(row)} |" for row in SIMPLIFICATIONS]
    table = "\n".join(("| assumption | reality | effect | what to do |", "|---|---|---|---|", *rows))
    return re.sub(r"\| assumption \|(.*\n\|)*.*", lambda _: table, text, count=1)


if __name__ == "__main__":
    PAGE.write_text(settings_page(), "utf-8")
    TRAINING.write_text(training_page(), "utf-8")
    README.write_text(readme_page(README.read_text("utf-8")), "utf-8")
