"""Settings: what a TOML file may say, checked before the first bar. docs/settings.md is made from this file.

Money is in the account's currency, prices in quote currency, rates are fractions of notional (0.001 is 0.1 %), times
are UTC. Relative paths are relative to the settings file. Secrets are never settings: they come from the environment.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from config.faults import fault_of, without_followers
from engine.bars import Timeframe
from engine.errors import SettingsError
from engine.semantics import CHOICES, PROFILES, Switches, profile

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
RUNS = ROOT / "runs"
"""Where journals and reports go by default."""
DEFAULT_JOURNAL = f"sqlite:///{RUNS}/journal.db"
CATALOG = ROOT / "data" / "catalog"
"""Where imported bars are kept by default."""


# ── kinds of values ─────────────────────────────────────────────────────────────────────────────────────────────────


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _timeframe(text: str) -> str:
    try:
        return Timeframe.parse(text).name
    except SettingsError as exc:
        raise ValueError(str(exc)) from exc


def _instant(value: Any) -> Any:
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
        return value.astimezone(UTC)
    return value


def _cash(value: Any) -> Any:
    """Return one amount or a table of them, checked here so that a fault is told once and not for each kind."""
    try:
        amounts = [_amount(amount) for amount in (value.values() if isinstance(value, Mapping) else (value,))]
    except (ArithmeticError, ValueError):
        raise ValueError("expected an amount, 0 or more, or a table of them such as { USDT = 10000 }") from None
    if not any(amounts):
        raise ValueError("expected an amount above 0 in at least one currency")
    return dict(zip(value, amounts, strict=True)) if isinstance(value, Mapping) else amounts[0]


def _amount(value: Any) -> Decimal:
    amount = Decimal(str(value))
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise ValueError
    return amount


def _volume_cap(value: Any) -> Any:
    if value is None or value == "none" or (isinstance(value, int | float) and 0 < value <= 1):
        return value
    raise ValueError('expected a share above 0 and up to 1, or "none"')


def _beside_the_file(value: Path | str, info: ValidationInfo) -> Path:
    """Return the path, relative ones taken from the settings file's folder."""
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(folder, Path(value).expanduser()).resolve()


Column = str | int
Place = Annotated[Path, AfterValidator(_beside_the_file)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Span = Annotated[str, AfterValidator(_timeframe)]
Spans = Annotated[tuple[Span, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Places = Annotated[tuple[Place, ...], BeforeValidator(_as_tuple)]
Rate = Annotated[Decimal, Field(gt=Decimal("-0.1"), lt=Decimal("0.1"))]
BasisPoints = Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)]
NotNegative = Annotated[Decimal, Field(ge=0)]
Positive = Annotated[Decimal, Field(gt=0)]


S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A table of settings: frozen, and nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


# ── [run] ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunSettings(Section):
    """How the run is made."""

    name: str = Field("", description="what to call the run; the settings file's name if left out")
    mode: Literal["auto", "step", "jump"] = Field(
        "auto", description="`step` visits every bar; `jump` skips to the next instant at which something can happen, "
        "for strategies that declare their targets; `auto` jumps where that is possible. The results are equal")
    seed: int = Field(0, ge=0, description="seeds every random choice that has no seed of its own")


# ── [data] ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Data(Section):
    timeframe: Spans = Field(
        ("1m",), description='length of a bar (`"5m"`), or several (`["1m", "1h"]`), the first being the one that is '
        "meant where a strategy names none")
    resample: Annotated[tuple[Span, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="longer timeframes to make out of the first and to publish beside it")
    start: Instant | None = Field(
        None, description="first open time, inclusive (UTC); 2024-01-01 if left out for a synthetic market")
    end: Instant | None = Field(None, description="last close time, inclusive (UTC)")
    gap_policy: Literal["error", "mark", "forward_fill"] = Field(
        "error", description="missing bars: refuse the data, report them, or repeat the last close with volume 0 and a "
        "flag")
    calendar: Literal["24/7", "sessions"] | None = Field(
        None, description="when bars are to be expected: always (`24/7`), or within the `sessions` that the data show; "
        "if left out, what the catalog knows, else `24/7`")

    @model_validator(mode="after")
    def _check(self) -> "_Data":
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        for name in self.resample if self.timeframe else ():
            base = Timeframe.parse(self.timeframe[0])
            longer = Timeframe.parse(name)
            if longer.duration <= base.duration or longer.duration % base.duration:
                raise ValueError(f"resample has {name}; expected a longer multiple of {base}")
        return self


class SyntheticData(_Data):
    """A seeded market that never was: regimes, clustered volatility, a daily season, jumps."""

    source: Literal["synthetic"]
    symbols: Names = Field(("BTC/USDT",), min_length=1, description="names of the made-up instruments")
    bars: int = Field(100_000, ge=1, description="how many bars of each symbol, in the first timeframe")
    seed: int | None = Field(None, ge=0, description="which market; `run.seed` if left out")
    volatility: float = Field(0.6, gt=0, le=10, description="yearly standard deviation of log returns (0.6 is 60 %)")
    drift: float = Field(0.0, ge=-10, le=10, description="yearly log return, on average")
    correlation: float = Field(0.5, ge=0, lt=1, description="between the returns of two symbols")
    jumps_per_day: float = Field(0.5, ge=0, le=100, description="expected jumps of each symbol")
    daily_volume: float = Field(
        50_000_000.0, gt=0, allow_inf_nan=False, description="typical turnover of a day, in quote currency")


class CatalogData(_Data):
    """Bars that `data import` has put into the catalog."""

    source: Literal["catalog"]
    symbols: Names = Field(min_length=1, description="which symbols to read")
    folder: Place = Field(CATALOG, description="where the catalog is")


class LayoutSettings(Section):
    """How a file is laid out, as far as it cannot be read off the file itself."""

    time: Column | tuple[Column, Column] | None = Field(
        None, description="the time's column, by name or place (from 0); a list of two for a date and a time of day")
    open: Column | None = Field(None, description="the open's column")
    high: Column | None = Field(None, description="the high's column")
    low: Column | None = Field(None, description="the low's column")
    close: Column | None = Field(None, description="the close's column")
    volume: Column | None = Field(None, description="the volume's column")
    has_volume: bool = Field(True, description="`false` for a file without volume, which becomes 0")
    header: bool | None = Field(None, description="whether the first line names the columns")
    delimiter: str | None = Field(None, description="what is between the cells of a line")
    skip_lines: int = Field(0, ge=0, description="lines before the header, such as an advertisement")
    time_unit: Literal["s", "ms", "us", "ns"] | None = Field(None, description="of times that are counts since 1970")
    time_format: str | None = Field(
        None, description="of written times, as in strptime: `%d.%m.%Y %H:%M`; ISO 8601 if left out")
    timezone: str | None = Field(None, description="what written times without a zone mean: `UTC`, `America/New_York`")
    stamp: Literal["open", "close"] = Field(
        "open", description="whether a row's time is the open or the close of its bar")


class FileData(_Data):
    """Bars straight from files."""

    source: Literal["files"]
    paths: Places = Field(min_length=1, description="files, folders of files, or patterns such as `bars/*.csv`")
    symbols: Names = Field(
        (), description="the symbol of each file in turn, or one for all of them; taken from their names if left out")
    timeframe: Annotated[tuple[Span, ...], BeforeValidator(_as_tuple)] = Field(
        (), description='length of a bar (`"5m"`); taken from the names or rows of the files if left out')
    layout: LayoutSettings = Field(default_factory=LayoutSettings, description="how the files are laid out")
    sort: bool = Field(False, description="put rows into time order instead of refusing them")
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="refuse a file with impossible rows, or leave them out")


DataSettings = Annotated[SyntheticData | CatalogData | FileData, Field(discriminator="source")]


# ── [strategy] ──────────────────────────────────────────────────────────────────────────────────────────────────────


class StrategySettings(Section):
    """Who decides."""

    name: str = Field(description="a strategy's class or file name (`SmaCross`, `sma_cross`), or `module:Class`; "
                                  "`python main.py strategies` lists them")
    folders: Places = Field((), description="further folders with strategy files")
    parameters: dict[str, Any] = Field(default_factory=dict, description="the strategy's own parameters")


# ── [account], [instruments] ────────────────────────────────────────────────────────────────────────────────────────


class AccountSettings(Section):
    """What there is to trade with."""

    cash: Annotated[Decimal | dict[str, Decimal], BeforeValidator(_cash)] = Field(
        Decimal(10_000), description="opening balance: a number, or one per currency (`{ USDT = 10000, EUR = 0 }`), "
        "the first being the one that results are reported in")
    currency: str = Field(
        "", description="the currency of a `cash` that is a number; what the first symbol is quoted in if left out")
    allow_short: bool = Field(
        False, description="whether selling more than is held opens a short position; it is backed by cash and pays no "
        "borrow fee yet")

    @model_validator(mode="after")
    def _check(self) -> "AccountSettings":
        if isinstance(self.cash, dict) and self.currency:
            raise ValueError("has a currency, but its cash names currencies already; expected one of the two")
        return self


class InstrumentSettings(Section):
    """What is known about an instrument."""

    base: str | None = Field(None, description="the asset; the symbol's part before `/` if left out")
    quote: str | None = Field(
        None, description="what it is paid in; the symbol's part after `/`, else the account's currency")
    price_increment: Positive | None = Field(
        None, description="step between two valid prices, in quote currency; read off the data if left out")
    quantity_increment: Positive = Field(
        Decimal("0.00000001"), description="step between two valid quantities, in base asset")
    min_quantity: NotNegative = Field(Decimal(0), description="smallest order, in base asset; 0 for none")
    min_notional: NotNegative = Field(
        Decimal(0), description="smallest price × quantity, in quote currency; 0 for none")
    multiplier: Positive = Field(Decimal(1), description="base asset per unit of quantity")
    venue: str = Field("", description="where it is traded")


# ── [costs] ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class FeeRates(Section):
    """Maker and taker fee."""

    maker: Rate = Field(description="fee of a fill that had been resting in the book; negative for a rebate")
    taker: Rate = Field(description="fee of a fill that took liquidity")


class FeeTierSettings(FeeRates):
    """Maker and taker fee from a volume upwards."""

    volume: NotNegative = Field(description="traded over the past 30 days, in quote currency")


class MakerTakerFeeSettings(Section):
    """A fraction of notional, cheaper for resting orders."""

    kind: Literal["maker_taker"] = "maker_taker"
    maker: Rate = Field(
        Decimal("0.001"), description="fee of a fill that had been resting in the book; negative for a rebate")
    taker: Rate = Field(Decimal("0.001"), description="fee of a fill that took liquidity")
    symbols: dict[str, FeeRates] = Field(default_factory=dict, description="rates of the symbols that differ")


class TieredFeeSettings(Section):
    """Rates that fall as the volume of the past 30 days grows."""

    kind: Literal["tiered"]
    tiers: tuple[FeeTierSettings, ...] = Field(
        min_length=1, description="rates from a volume upwards, the first from 0")
    window_days: int = Field(30, ge=1, description="how many days of volume count")


class EquityFeeSettings(Section):
    """Share dealing."""

    kind: Literal["equity"]
    per_share: NotNegative = Field(Decimal(0), description="fee per share, in quote currency")
    rate: Rate = Field(Decimal(0), description="fee as a fraction of notional")
    minimum: NotNegative = Field(Decimal(0), description="least fee of a fill, in quote currency")
    stamp_duty: Rate = Field(Decimal(0), description="fraction of notional, on sales only")


class NoSlippageSettings(Section):
    """Fills at the reference price: optimistic."""

    kind: Literal["none"]


class FixedSlippageSettings(Section):
    """Half a constant spread and a constant slippage, whatever the size."""

    kind: Literal["fixed"] = "fixed"
    basis_points: BasisPoints = Field(1.0, description="slippage of a taking fill, in basis points of its price")
    half_spread_basis_points: BasisPoints = Field(1.0, description="half the spread, in basis points of the price")


class VolatilitySlippageSettings(Section):
    """The price moves while the order executes."""

    kind: Literal["volatility"]
    fraction: float = Field(0.5, ge=0, allow_inf_nan=False, description="share of the volatility over the horizon")
    horizon_seconds: float = Field(60.0, ge=0, allow_inf_nan=False, description="how long an order takes to execute")
    half_spread_basis_points: BasisPoints = Field(1.0, description="half the spread, in basis points of the price")


class SquareRootImpactSettings(Section):
    """Our own volume moves the price: coefficient × daily volatility × (quantity ÷ daily volume) ^ exponent."""

    kind: Literal["sqrt_impact"]
    coefficient: float = Field(1.0, ge=0, allow_inf_nan=False, description="of order one in the literature")
    exponent: float = Field(0.5, gt=0, le=1, description="0.5 is the square-root law")
    half_spread_basis_points: BasisPoints = Field(1.0, description="half the spread, in basis points of the price")


class ConstantLatencySettings(Section):
    """Always the same delay before the venue sees an order."""

    kind: Literal["constant"] = "constant"
    milliseconds: float = Field(0.0, ge=0, allow_inf_nan=False, description="the delay")


class LognormalLatencySettings(Section):
    """A delay drawn for each order."""

    kind: Literal["lognormal"]
    median_milliseconds: float = Field(gt=0, allow_inf_nan=False, description="half of the delays are shorter")
    sigma: float = Field(0.5, ge=0, allow_inf_nan=False, description="standard deviation of the delay's logarithm")
    seed: int | None = Field(None, ge=0, description="`run.seed` if left out")


def _first_kind(value: Any, kind: str) -> Any:
    return {"kind": kind, **value} if isinstance(value, Mapping) and "kind" not in value else value


Fees = Annotated[
    Annotated[MakerTakerFeeSettings | TieredFeeSettings | EquityFeeSettings, Field(discriminator="kind")],
    BeforeValidator(lambda value: _first_kind(value, "maker_taker")),
]
SlippageSettings = Annotated[
    Annotated[
        NoSlippageSettings | FixedSlippageSettings | VolatilitySlippageSettings | SquareRootImpactSettings,
        Field(discriminator="kind"),
    ],
    BeforeValidator(lambda value: _first_kind(value, "fixed")),
]
LatencySettings = Annotated[
    Annotated[ConstantLatencySettings | LognormalLatencySettings, Field(discriminator="kind")],
    BeforeValidator(lambda value: _first_kind(value, "constant")),
]


class CostSettings(Section):
    """What trading costs."""

    fees: Fees = Field(default_factory=MakerTakerFeeSettings, description="what the venue charges")
    slippage: SlippageSettings = Field(
        default_factory=FixedSlippageSettings, description="how taking liquidity moves the price against us")
    latency: LatencySettings = Field(
        default_factory=ConstantLatencySettings, description="the delay before the venue sees an order")


# ── [fills], [journal], [report] ────────────────────────────────────────────────────────────────────────────────────


class FillSettings(Section):
    """What bars leave open about fills."""

    profile: str = Field(
        "default", description="`default` (honest), or another engine's: `backtesting_py`, `backtrader`, "
        "`vectorbt_next_open`")
    market_fill: str | None = Field(None, description="where a market order fills")
    path: str | None = Field(None, description="the order of high and low inside a bar")
    limit_touch: str | None = Field(None, description="whether a limit fills when its price is only touched")
    limit_gap: str | None = Field(None, description="the price of a limit that the open has already crossed")
    stop_touch: str | None = Field(None, description="whether a stop triggers when its price is only touched")
    stop_price: str | None = Field(None, description="the price of a stop that triggers inside the bar")
    stop_gap: str | None = Field(None, description="the price of a stop that the open has already crossed")
    children_same_bar: str | None = Field(None, description="whether a bracket's children may fill in the entry's bar")
    trail_reference: str | None = Field(None, description="what a trailing stop follows")
    stop_limit_same_bar: str | None = Field(None, description="whether a triggered stop-limit may fill in the same bar")
    netting: str | None = Field(None, description="what an order that closes is set against")
    volume_cap: Annotated[float | Literal["none"] | None, BeforeValidator(_volume_cap)] = Field(
        None, description="largest share of a bar's volume that our fills take, the rest is carried over; "
        '`"none"` for no cap')
    children_reduce_only: bool | None = Field(
        None, description="whether a bracket's children may only reduce the position they protect")
    checks_brackets: bool | None = Field(
        None, description="whether a bracket is refused whose stop-loss or take-profit is on the wrong side of its "
        "entry")
    touch_probability: float | None = Field(
        None, ge=0, le=1, description='chance of a fill at a touch, for `limit_touch = "probability"`')
    seed: int | None = Field(None, ge=0, description="for what is drawn at random; `run.seed` if left out")

    def switches(self, seed: int) -> Switches:
        """Return the switches meant; `seed` is used where chance decides and none is set here."""
        changes = {name: value for name, value in self.model_dump(exclude={"profile"}).items() if value is not None}
        if changes.get("volume_cap") == "none":
            changes["volume_cap"] = None
        chosen = profile(self.profile, **changes)
        is_random = chosen.path == "random" or chosen.limit_touch == "probability"
        return replace(chosen, seed=seed) if is_random and self.seed is None else chosen

    @field_validator("profile", *CHOICES, check_fields=False)
    @classmethod
    def _check(cls, value: str | None, info: ValidationInfo) -> str | None:
        choices = list(PROFILES) if info.field_name == "profile" else CHOICES[str(info.field_name)]
        if value is not None and value not in choices:
            # The same kind of error as a Literal's, but the choices are written down once, in engine.semantics.
            raise PydanticCustomError("literal_error", "", {"expected": ", ".join(map(repr, choices))})
        return value


class JournalSettings(Section):
    """The record of the run, in SQL."""

    enabled: bool = Field(True, description="whether the run is recorded")
    url: str = Field(
        DEFAULT_JOURNAL, description="where: a file such as `runs/journal.db` (SQLite), or "
        "`postgresql+psycopg://user@host/database` with the password in the environment (PGPASSWORD); runs/journal.db "
        "in the checkout if left out")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str, info: ValidationInfo) -> str:
        if re.match(r"[\w+]+://[^/@]*:[^/@]*@", url):
            raise ValueError("it holds a password; settings are recorded, so put it into the environment as PGPASSWORD")
        return journal_url(url, (info.context or {}).get("folder", Path.cwd()))


class ReportSettings(Section):
    """The HTML report."""

    html: Place | None = Field(None, description="where to write it; no report if left out")
    benchmark: str = Field(
        "buy_and_hold", description="what equity is compared with: `buy_and_hold` (equal parts of every symbol), or "
        "one symbol held")


class Settings(Section):
    """Everything a run is made of."""

    run: RunSettings = Field(default_factory=RunSettings, description="how the run is made")
    data: DataSettings = Field(description="where the bars come from")
    strategy: StrategySettings = Field(description="who decides")
    account: AccountSettings = Field(default_factory=AccountSettings, description="what there is to trade with")
    instruments: dict[str, InstrumentSettings] = Field(
        default_factory=dict, description='what is known about each symbol, `[instruments."BTC/USDT"]`, or about all '
        "that have no table of their own, `[instruments.default]`")
    costs: CostSettings = Field(
        default_factory=CostSettings, description="what trading costs; the defaults are those of a small spot account "
        "on a large crypto venue, not zero")
    fills: FillSettings = Field(
        default_factory=FillSettings, description="what bars leave open about fills: docs/fills.md explains every "
        "value; a switch left out is the profile's")
    journal: JournalSettings = Field(default_factory=JournalSettings, description="the record of the run, in SQL")
    report: ReportSettings = Field(default_factory=ReportSettings, description="the HTML report")


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_writable(path: Path) -> None:
    """Make the folder of a file that will be written, before the work that it is for.

    Raises:
        SettingsError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be written: {exc.strerror}: {exc.filename}") from exc
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"{path}: cannot be written; expected a file in a folder that may be written to")


def journal_url(text: str, folder: Path) -> str:
    """Return the URL of a journal given as a URL or as a file's path, relative paths taken from a folder."""
    if "://" not in text:
        return f"sqlite:///{Path(folder, Path(text).expanduser()).resolve()}"
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///(?!/|:memory:|$)(.*)", text)
    return journal_url(file[1], folder) if file else text


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a TOML file, some of them changed.

    Args:
        overrides: "dotted.key=value" each, the value in TOML; text that is no TOML value is taken as a string. A table
            replaces the file's table.
    Raises:
        SettingsError: names the file (or the override), the key, the value and what was expected, one line a fault.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; config/examples has some to start from") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{path}: not valid TOML: {exc}") from exc
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        keys, value = _parse_override(override)
        _put(given, keys, value, override)
        origins[keys] = f"--set {override}"
    settings = settings_from(given, folder=path.parent, origin=str(path), origins=origins)
    if not settings.run.name:
        named = settings.run.model_copy(update={"name": path.stem})
        settings = settings.model_copy(update={"run": named})
    return settings


def settings_from(
    given: Mapping[str, Any], *, folder: Path, origin: str, origins: Mapping[tuple[str, ...], str] | None = None
) -> Settings:
    """Return checked settings.

    Args:
        given: tables as TOML would give them; folder: what relative paths are relative to.
        origin: where they come from, for messages; origins: the same for keys that come from elsewhere.
    Raises:
        SettingsError: as `load_settings`.
    """
    try:
        return Settings.model_validate(given, context={"folder": folder})
    except ValidationError as exc:
        faults = without_followers([fault_of(error, given, Settings) for error in exc.errors(include_url=False)])
    lines = []
    for fault in faults:
        owner = next((name for keys, name in (origins or {}).items() if fault.keys[: len(keys)] == keys), origin)
        lines.append(f"{owner}: {fault.text}")
    raise SettingsError("\n".join(dict.fromkeys(lines)))


def section_from(section: type[S], options: Sequence[str], *, option: str) -> S:
    """Return one section made of "key=value" texts, as a command line gives them.

    Raises:
        SettingsError: an unknown key, or a value that is not of its kind.
    """
    given: dict[str, Any] = {}
    for text in options:
        keys, value = _parse_override(text, option)
        _put(given, keys, value, text)
    try:
        return section.model_validate(given)
    except ValidationError as exc:
        faults = without_followers([fault_of(error, given, section) for error in exc.errors(include_url=False)])
        raise SettingsError("\n".join(f"{option}: {fault.text}" for fault in faults)) from None


def _parse_override(override: str, option: str = "--set") -> tuple[tuple[str, ...], Any]:
    key, equals, text = override.partition("=")
    # A quoted key may hold an equals sign; TOML itself says where the key ends.
    try:
        node: Any = tomllib.loads(f"{key.strip()} = 0")
    except tomllib.TOMLDecodeError:
        node = None
    if not equals or node is None:
        raise SettingsError(f"{option} {override}: expected KEY=VALUE, such as data.seed=7")
    keys = []
    while isinstance(node, dict):
        [(name, node)] = node.items()
        keys.append(name)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return tuple(keys), value


def _put(tables: dict[str, Any], keys: tuple[str, ...], value: Any, override: str) -> None:
    for place, key in enumerate(keys[:-1], 1):
        below = tables.setdefault(key, {})
        if not isinstance(below, dict):
            raise SettingsError(f"--set {override}: {'.'.join(keys[:place])} is {below!r}, which has nothing inside it")
        tables = below
    tables[keys[-1]] = value
