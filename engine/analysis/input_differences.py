"""Where what two runs were made of differs: settings, code, strategy, files, libraries, seeds, data, platform.

The same comparison serves two recorded runs and a recorded run with what is there now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from engine.analysis.data_differences import data_differences
from engine.analysis.inputs import ABSENT, Difference, Recorded
from engine.records import RunStart

_IDLE_SETTINGS = ("journal.", "report.html", "run.name", "forecasts.")
"""Settings that say where a run's record goes and what it is called."""

_ORDER = (
    "settings", "code", "strategy", "model", "file", "library", "seed", "data", "instrument", "assumption", "platform",
    "commit",
)


def input_differences(then: Recorded, now: Recorded) -> list[Difference]:
    """Return everything that differs, what decides a run's orders before what does not."""
    found = [
        *settings_differences(then.start.settings, now.start.settings),
        *code_differences(then, now),
        *_libraries(then.start.libraries, now.start.libraries),
        *_values("seed", then.start.seeds, now.start.seeds),
        *data_differences(then, now),
        *_instruments(then.start.instruments, now.start.instruments),
        *_assumptions(then.start.assumptions, now.start.assumptions),
        *(replace(one, stops=False) for one in _values("platform", then.of("platform"), now.of("platform"))),
        *_commits(then.start, now.start),
    ]
    return sorted(found, key=lambda one: (not one.stops, _ORDER.index(one.kind)))


# ── settings, code, libraries ───────────────────────────────────────────────────────────────────────────────────────


def settings_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return the settings that differ by dotted key; a section that one side lacks is told value by value."""
    before, after = dict(_leaves(then)), dict(_leaves(now))
    found = []
    for key in dict.fromkeys((*before, *after)):
        pair = before.get(key, ABSENT), after.get(key, ABSENT)
        if pair[0] != pair[1] and not key.startswith(_IDLE_SETTINGS):
            # A setting that there was not yet, or that says nothing: its default stands for what was done before.
            is_new = pair[0] == ABSENT or pair == (None, ABSENT)
            found.append(Difference("settings", key, *pair, stops=not is_new))
    return found


def code_differences(then: Recorded, now: Recorded) -> list[Difference]:
    """Return the files that differ: the engine's, the strategy's, and what else settings name; and the models."""
    found = []
    for kind, name in (("source", "code"), ("strategy", "strategy"), ("model", "model"), ("file", "file")):
        before, after = then.of(kind), now.of(kind)
        if then.of("source") and now.of("source"):
            found += _values(name, before, after)
    if then.start.strategy != now.start.strategy:
        found.append(Difference("strategy", "class", then.start.strategy, now.start.strategy))
    return found


def _libraries(then: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """Return the libraries that differ; a third number of a version stands for repairs, and is only told."""
    return [
        replace(one, stops=_major_minor(one.then) != _major_minor(one.now) and ABSENT not in (one.then, one.now))
        for one in _values("library", then, now)
    ]


def _major_minor(version: str) -> list[str]:
    return str(version).split(".")[:2]


def _commits(then: RunStart, now: RunStart) -> list[Difference]:
    if (then.code_version, then.is_dirty) == (now.code_version, now.is_dirty):
        return []
    return [Difference("commit", "checkout", _commit(then), _commit(now), stops=False)]


def _commit(start: RunStart) -> str:
    state = {True: " with uncommitted changes", False: "", None: ", state unknown"}[start.is_dirty]
    return f"{start.code_version[:12]}{state}"


def _instruments(then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    if not then or not now:
        return []
    before, after = dict(_leaves(then)), dict(_leaves(now))
    return [one if one.then != ABSENT else replace(one, stops=False) for one in _values("instrument", before, after)]


def _assumptions(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return the switches and costs that differ."""
    found = []
    for part in ("switches", "costs"):
        before = {f"{part}.{key}": value for key, value in _leaves(then.get(part, {}))}
        after = {f"{part}.{key}": value for key, value in _leaves(now.get(part, {}))}
        found += [
            one if one.then != ABSENT else replace(one, stops=False) for one in _values("assumption", before, after)
        ] if before and after else []
    return found


def _values(kind: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(kind, name, then.get(name, ABSENT), now.get(name, ABSENT))
        for name in dict.fromkeys((*then, *now)) if then.get(name, ABSENT) != now.get(name, ABSENT)
    ]


def _leaves(tables: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        name = key if key.isidentifier() or key.replace("-", "").isalnum() else f'"{key}"'
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        elif not isinstance(value, Mapping):
            yield here, list(value) if isinstance(value, tuple) else value
