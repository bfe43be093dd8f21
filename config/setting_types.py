"""Kinds of values in settings, and the base of every table: what is written, checked and made into what is meant."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from engine.bars import Timeframe
from engine.errors import SettingsError


def as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def timeframe_name(text: str) -> str:
    try:
        return Timeframe.parse(text).name
    except SettingsError as exc:
        raise ValueError(str(exc)) from exc


def instant_of(value: Any) -> Any:
    """Take a TOML date as its midnight UTC, and refuse a time that does not say where it is."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a time such as 2024-01-31 or 2024-01-31T09:30:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"it has no timezone; expected {value.isoformat()}Z, or an offset")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("expected a time whose UTC lies in the years 1 to 9999") from None
    return value


def cash_amounts(value: Any) -> Any:
    """Return one amount or a table of them, checked here so that a fault is told once and not for each kind."""
    try:
        amounts = [amount(each) for each in (value.values() if isinstance(value, Mapping) else (value,))]
    except (ArithmeticError, ValueError):
        raise ValueError("expected an amount, 0 or more, or a table of them such as { USDT = 10000 }") from None
    if not any(amounts):
        raise ValueError("expected an amount above 0 in at least one currency")
    return dict(zip(value, amounts, strict=True)) if isinstance(value, Mapping) else amounts[0]


def amount(value: Any) -> Decimal:
    amount = Decimal(str(value))
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise ValueError
    return amount


def cap_of_volume(value: Any) -> Any:
    if value is None or value == "none" or (isinstance(value, int | float) and 0 < value <= 1):
        return value
    raise ValueError('expected a share above 0 and up to 1, or "none"')


def bounds_choice(value: Any) -> Any:
    if isinstance(value, bool) or value == "auto":
        return value
    raise ValueError('expected true, false, or "auto"')


def _beside_the_file(value: Path | str, info: ValidationInfo) -> Path:
    """Return the path, relative ones taken from the settings file's folder."""
    folder = (info.context or {}).get("folder", Path.cwd())
    return resolved(value, folder)


def resolved(path: Path | str, folder: Path) -> Path:
    try:
        return Path(folder, Path(path).expanduser()).resolve()
    except (RuntimeError, OSError) as exc:  # ~ of a user there is not, links in a circle
        raise ValueError(f"expected a path that leads somewhere: {exc}") from exc


def finer(value: Any, info: ValidationInfo) -> Any:
    """Return a timeframe as it is, and files as paths from the settings file's folder."""
    if isinstance(value, str):
        try:
            return Timeframe.parse(value).name
        except SettingsError:
            value = (value,)
    if value is None or not isinstance(value, list | tuple):
        return value
    return tuple(_beside_the_file(path, info) for path in value)


Column = str | int
Place = Annotated[Path, AfterValidator(_beside_the_file)]
Instant = Annotated[datetime, BeforeValidator(instant_of)]
Span = Annotated[str, AfterValidator(timeframe_name)]
Spans = Annotated[tuple[Span, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Places = Annotated[tuple[Place, ...], BeforeValidator(as_tuple)]
Rate = Annotated[Decimal, Field(gt=Decimal("-0.1"), lt=Decimal("0.1"))]
BasisPoints = Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)]
NotNegative = Annotated[Decimal, Field(ge=0)]
Positive = Annotated[Decimal, Field(gt=0)]
PositiveShare = Annotated[Decimal, Field(gt=0, lt=1)]
YearlyRate = Annotated[Decimal, Field(ge=0, le=10)]
Leverage = Annotated[Decimal, Field(ge=1, le=1000)]


S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A table of settings: frozen, and nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)
