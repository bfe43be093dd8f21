"""Parameters of a strategy: declared once, validated the same for TOML, command line and sweeps."""

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import SettingsError, nearest_name

_KINDS: tuple[type, ...] = (int, float, bool, str)


def Param(  # noqa: N802 it stands where a class would: fast: int = Param(20)
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[Any, ...] | None = None,
    help: str = "",
) -> Any:
    """Declare a parameter of a strategy, with its default and its limits: `fast: int = Param(20, ge=2, le=500)`.

    Its type is int, float, bool or str. A subclass may give it another default by plain assignment: `fast = 10`.

    Args:
        default: the value used when none is given.
        ge, gt, le, lt: inclusive and exclusive bounds for numbers.
        choices: the only values allowed.
        help: one line for people.
    """
    # Typed Any, so that a type checker sees the attribute as what it is on the instance: an int.
    return Parameter(default, ge, gt, le, lt, choices, help)


@dataclass(frozen=True)
class Parameter:
    """What `Param` declares."""

    default: Any
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] | None = None
    help: str = ""

    def check(self, owner: str, name: str, kind: type, value: Any) -> Any:
        """Return the value as `kind`.

        Raises:
            SettingsError: it is of another type or out of range.
        """
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)) or value != value:
            raise SettingsError(f"{owner}: parameter {name} is {value!r}; expected {kind.__name__}")
        limits: tuple[tuple[str, float | None, Callable[[Any, Any], bool]], ...] = (
            ("≥", self.ge, operator.ge),
            (">", self.gt, operator.gt),
            ("≤", self.le, operator.le),
            ("<", self.lt, operator.lt),
        )
        for sign, bound, holds in limits:
            # `not holds` also refuses NaN, which compares false to everything.
            if bound is not None and not holds(value, bound):
                raise SettingsError(f"{owner}: parameter {name} is {value!r}; expected {sign} {bound}{self._between()}")
        if self.choices is not None and value not in self.choices:
            allowed = ", ".join(map(repr, self.choices))
            raise SettingsError(f"{owner}: parameter {name} is {value!r}; expected one of {allowed}")
        return value

    @property
    def range(self) -> str:
        """The values allowed, for people: "≥ 2, ≤ 500", "fast or slow"; empty if there is no limit."""
        if self.choices is not None:
            return " or ".join(map(str, self.choices))
        bounds = (("≥", self.ge), (">", self.gt), ("≤", self.le), ("<", self.lt))
        return ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)

    def _between(self) -> str:
        low = self.ge if self.ge is not None else self.gt
        high = self.le if self.le is not None else self.lt
        return f" (between {low} and {high})" if low is not None and high is not None else ""


def declared_parameters(owner: type) -> dict[str, tuple[type, Parameter]]:
    """Return name → (type, parameter) for every parameter of a class and its bases, bases first.

    Raises:
        SettingsError: one has no type, or another than int, float, bool or str, or the name of something else.
    """
    declared: dict[str, tuple[type, Parameter]] = {}
    hints: dict[str, Any] = {}
    for place, base in enumerate(reversed(owner.__mro__)):
        hints.update(inspect.get_annotations(base))
        for name, value in vars(base).items():
            if isinstance(value, Parameter):
                declared[name] = (_kind(owner, name, hints.get(name)), value)
                for above in owner.__mro__[-place:] if place else ():
                    if name in vars(above) and not isinstance(vars(above)[name], Parameter):
                        raise SettingsError(
                            f"{owner.__name__}: parameter {name} would hide {above.__name__}.{name}; take another name"
                        )
            elif name in declared:
                declared[name] = (declared[name][0], replace(declared[name][1], default=value))
    return declared


def _kind(owner: type, name: str, hint: Any) -> type:
    for kind in _KINDS:
        if hint is kind or hint == kind.__name__:
            return kind
    found = "no type" if hint is None else f"type {getattr(hint, '__name__', hint)}"
    raise SettingsError(
        f"{owner.__name__}: parameter {name} has {found}; write {name}: int = Param(…), or float, bool or str"
    )


def checked_parameters(owner: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter's value, defaults filled in.

    Raises:
        SettingsError: a name is not declared (with the nearest that is), or a value is out of range.
    """
    declared = declared_parameters(owner)
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise SettingsError(
                f"{owner.__name__}: unknown parameter {name!r}{nearest_name(name, list(declared))} (it has: {known})"
            )
    return {
        name: param.check(owner.__name__, name, kind, given.get(name, param.default))
        for name, (kind, param) in declared.items()
    }
