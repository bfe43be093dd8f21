"""What is wrong with settings, said in the words of the file: pydantic's errors turned into sentences of ours.

A sentence names the setting by its dotted key, shows the value and says what was expected, or the nearest known name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from engine.errors import nearest_name

CHOOSERS = ("source", "kind")
"""The settings by which a table says which of several sections it is."""

KINDS = {
    "bool_": "true or false",
    "dict_": "a table",
    "decimal_": "a number",
    "float_": "a number",
    "int_": "a whole number",
    "model_": "a table",
    "string_type": "a string",
    "tuple_type": "a list",
}
"""What to say for pydantic's error types that start so."""


class Fault(NamedTuple):
    """One thing that is wrong: the keys that lead to it, and the sentence."""

    keys: tuple[str, ...]
    text: str


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field's type is made of, in order."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [section for part in get_args(annotation) for section in sections_in(part)]


def chooser_of(section: type[BaseModel]) -> str:
    """Return the name of the setting that says which section a table is; empty if there is no choice."""
    return next((name for name in CHOOSERS if name in section.model_fields), "")


def tag_of(section: type[BaseModel]) -> str:
    """Return the value of its chooser that means this section; empty if there is no choice."""
    chooser = chooser_of(section)
    return get_args(section.model_fields[chooser].annotation)[0] if chooser else ""


def dotted(keys: Sequence[str]) -> str:
    """Return the keys as TOML writes them: instruments."BTC/USDT".base."""
    plain = (key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False) for key in keys)
    return shortened(".".join(plain))


def fault_of(error: Any, given: Mapping[str, Any], root: type[BaseModel]) -> Fault:
    """Return one of pydantic's errors in our words.

    Args:
        error: an element of `ValidationError.errors()`; given: what was validated; root: the section of the whole.
    """
    place = _locate(error["loc"], given, root)
    name = dotted(place.keys)
    details = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Fault(place.keys, _unknown(place, root))
        case "missing":
            return Fault(place.keys, f"{name} is missing; expected {_purpose(place)}")
        case "union_tag_not_found" | "union_tag_invalid":
            chooser = details["discriminator"].strip("'")
            tags = [tag_of(section) for section in place.below]
            found = f"{name}.{chooser} is " + ("missing" if "tag" not in details else _shown(details["tag"]))
            return Fault((*place.keys, chooser), _choice(found, str(details.get("tag", "")), tags))
        case "literal_error":
            choices = re.findall(r"'([^']*)'", str(details["expected"]))
            return Fault(place.keys, _choice(f"{name} is {_shown(place.value)}", str(place.value), choices))
        case "value_error" if place.below or not name:
            return Fault(place.keys, f"[{name}] {details['error']}" if name else str(details["error"]))
        case "value_error":
            return Fault(place.keys, f"{name} is {_shown(place.value)}; {details['error']}")
    expected = next((words for kind, words in KINDS.items() if error["type"].startswith(kind)), "")
    expected = expected or re.sub(r"^\w+ should (be |have )?", "", error["msg"])
    return Fault(place.keys, f"{name} is {_shown(place.value)}; expected {expected}")


def without_followers(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults less those of a whole table or list that only follow from a fault inside it."""
    inner = {other.keys[:depth] for other in faults for depth in range(len(other.keys))}
    return [fault for fault in faults if fault.keys not in inner]


class _Place(NamedTuple):
    """Where an error is: the keys a person wrote, the value there, the section it is in and the sections below."""

    keys: tuple[str, ...]
    value: Any
    section: type[BaseModel]
    below: list[type[BaseModel]]


def _locate(loc: Sequence[str | int], given: Any, root: type[BaseModel]) -> _Place:
    """Follow a location. Pydantic puts the branches it took of unions among its steps; nobody wrote those."""
    keys: list[str] = []
    section, below = root, [root]
    for step in loc:
        branch = [candidate for candidate in below if len(below) > 1 and step == tag_of(candidate)]
        if branch:
            below = branch
            continue
        section = below[0] if below else section
        is_field = len(below) == 1 and step in section.model_fields
        in_list = isinstance(given, list | tuple) and isinstance(step, int)
        if in_list or (isinstance(given, Mapping) and step in given):
            given = given[step]
        elif is_field:
            given = None
        else:
            continue
        keys.append(str(step))
        if is_field:
            below = sections_in(section.model_fields[str(step)].annotation)
    return _Place(tuple(keys), given, section, below)


def _purpose(place: _Place) -> str:
    purpose = place.section.model_fields[place.keys[-1]].description or "a value"
    return f"a table [{dotted(place.keys)}]: {purpose}" if place.below else purpose


def _choice(found: str, value: str, choices: Sequence[str]) -> str:
    return f"{found}; expected one of {', '.join(choices)}{nearest_name(value, list(choices))}"


def _unknown(place: _Place, root: type[BaseModel]) -> str:
    *table, name = place.keys
    known = list(place.section.model_fields)
    hint = nearest_name(name, known)
    if not hint:
        homes = {**_homes(root, ()), **_homes(place.section, table)}
        homes = {setting: home for setting, home in homes.items() if home != dotted(table)}
        elsewhere = nearest_name(name, list(homes))
        hint = f"{elsewhere.rstrip('?')} in [{homes[elsewhere.split(chr(39))[1]]}]?" if elsewhere else ""
    where = f" in [{dotted(table)}]" if table else ""
    return f"unknown setting {shortened(name)!r}{where}{hint or '; it has ' + ', '.join(known)}"


def _homes(section: type[BaseModel], table: Sequence[str]) -> dict[str, str]:
    """Return the tables right below one that have a setting, by setting."""
    return {
        setting: dotted([*table, home])
        for home, field in section.model_fields.items()
        for below in sections_in(field.annotation)
        for setting in below.model_fields
    }


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else shortened(repr(value))


def shortened(text: str) -> str:
    """Return a text that fits into a message; what is cut off is marked."""
    return text if len(text) <= 200 else f"{text[:200]}…"
