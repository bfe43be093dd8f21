"""Settings: what a TOML file may say, checked before the first bar. docs/settings.md is made from this file.

Money is in the account's currency, prices in quote currency, rates are fractions of notional (0.001 is 0.1 %), times
are UTC. Relative paths are relative to the settings file. Secrets are never settings: they come from the environment.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from config.calibrated import with_calibrated
from config.faults import fault_of, shortened, without_followers
from config.live_settings import FurtherVenue, LiveSettings
from config.secrets import refuse_secrets
from config.setting_types import (
    BasisPoints,
    Column,
    Instant,
    Leverage,
    Names,
    NotNegative,
    Place,
    Places,
    Positive,
    PositiveShare,
    Rate,
    S,
    Section,
    Span,
    Spans,
    YearlyRate,
    amount,
    as_tuple,
    bounds_choice,
    cap_of_volume,
    cash_amounts,
    finer,
    resolved,
    timeframe_name,
)
from engine.bars import Timeframe
from engine.errors import SettingsError
from engine.semantics import CHOICES, PROFILES, Switches, profile

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
RUNS = ROOT / "runs"
"""Where journals and reports go by default."""
DEFAULT_JOURNAL = f"sqlite:///{RUNS}/journal.db"
FORECAST_STORE = RUNS / "forecasts.db"
CATALOG = ROOT / "data" / "catalog"
"""Where imported bars are kept by default."""


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
    resample: Annotated[tuple[Span, ...], BeforeValidator(as_tuple)] = Field(
        (), description="longer timeframes to make out of the first and to publish beside it")
    start: Instant | None = Field(
        None, description="first open time, inclusive (UTC); 2024-01-01 if left out for a synthetic market")
    end: Instant | None = Field(None, description="last close time, inclusive (UTC)")
    detail: Annotated[str | tuple[Path, ...] | None, BeforeValidator(finer)] = Field(
        None, description='finer bars that tell what happened inside the others, for `fills.path = "detail"` and '
        'bounds: a timeframe of the catalog (`"1m"`), or files')
    gap_policy: Literal["error", "mark", "forward_fill"] = Field(
        "error", description="missing bars: refuse the data, report them, or repeat the last close with volume 0 and a "
        "flag")
    funding: Places = Field(
        (), description="files, folders or patterns of funding rates, found for each perpetual by their names; "
        "docs/accounts.md says what they may look like")
    mark_prices: Places = Field(
        (), description="files, folders or patterns of the bars of mark prices; margins and funding go by the last "
        "close if left out")
    prices: Literal["raw", "adjusted"] | None = Field(
        None, description="whether the prices are those that were traded, or were adjusted for splits and dividends "
        "since; the assumption card says what follows from it")
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
    bars: int = Field(100_000, ge=1, le=1_000_000_000, description="bars of each symbol, in the first timeframe")
    skip: int = Field(
        0, ge=0, description="bars of each symbol left out at the beginning, such as those that a model was trained "
        "on; the rest is the same market")
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


class QlibData(_Data):
    """Bars of a Qlib data directory, as `qlib get_data` and dump_bin.py write them."""

    source: Literal["qlib"]
    folder: Place = Field(description="the directory, with `calendars`, `instruments` and `features` in it")
    market: str = Field("all", description="which symbols to read: a file of `instruments`, such as `csi300`")
    symbols: Names = Field((), description="which to read instead of a market's")
    members_only: bool = Field(
        True, description="a market's symbols have bars only while its file says that they belonged to it")
    timeframe: Annotated[tuple[Span, ...], BeforeValidator(as_tuple)] = Field(("1d",), description="`1d` or `1m`")
    timezone: str = Field("UTC", description="of the calendar's times: `Asia/Shanghai`")
    prices: Literal["raw", "adjusted"] = Field(
        "adjusted", description="as Qlib keeps them, or as they were traded: divided by its `factor`")
    gap_policy: Literal["error", "mark", "forward_fill"] = Field(
        "mark", description="days on which a symbol was not traded: report them, refuse the data, or repeat the last "
        "close with volume 0 and a flag")
    calendar: Literal["24/7", "sessions"] | None = Field(
        "sessions", description="when bars are to be expected: within the `sessions` that the data show, or always")


class VenueData(_Data):
    """Bars of a crypto exchange as they close, for `paper`."""

    source: Literal["venue"]
    venue: str = Field(description="which exchange, as ccxt calls it: `binance`, `okx`, `bybit`, `kraken`, …")
    symbols: Names = Field(min_length=1, description="which symbols to follow, as ccxt writes them: `BTC/USDT`")
    history: int = Field(
        500, ge=0, le=100_000, description="bars of each symbol from before the start, for indicators and forecasts")
    api_urls: dict[str, Any] | None = Field(
        None, description="instead of the exchange's own addresses (`urls.api` of ccxt), those of a venue on this "
        "machine; no other is taken")
    options: dict[str, Any] = Field(default_factory=dict, description="further options of ccxt's")
    market_clock: str | None = Field(
        None, description="of a venue on this machine that plays a market at another time than now: the address that "
        "tells the market's time")
    further: tuple[FurtherVenue, ...] = Field(
        (), description="further exchanges that are followed in the same session; their symbols come after these")


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
    timeframe: Annotated[tuple[Span, ...], BeforeValidator(as_tuple)] = Field(
        (), description='length of a bar (`"5m"`); taken from the names or rows of the files if left out')
    layout: LayoutSettings = Field(default_factory=LayoutSettings, description="how the files are laid out")
    sort: bool = Field(False, description="put rows into time order instead of refusing them")
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="refuse a file with impossible rows, or leave them out")


DataSettings = Annotated[SyntheticData | CatalogData | FileData | QlibData | VenueData, Field(discriminator="source")]


# ── [strategy] ──────────────────────────────────────────────────────────────────────────────────────────────────────


class StrategySettings(Section):
    """Who decides."""

    name: str = Field(description="a strategy's class or file name (`SmaCross`, `sma_cross`), or `module:Class`; "
                                  "`python main.py strategies` lists them")
    folders: Places = Field((), description="further folders with strategy files")
    parameters: dict[str, Any] = Field(default_factory=dict, description="the strategy's own parameters")


# ── [account], [instruments] ────────────────────────────────────────────────────────────────────────────────────────


class MarginTierSettings(Section):
    """Maintenance margin from a notional upwards."""

    notional: NotNegative = Field(description="where the tier begins, in quote currency; the first at 0")
    rate: PositiveShare = Field(description="maintenance margin, as a fraction of notional")
    max_leverage: Annotated[Decimal, Field(ge=1)] | None = Field(
        None, description="highest leverage of a position this large; 1 ÷ (2 × rate) if left out")


class _MarginTerms(Section):
    maintenance_rate: PositiveShare | None = Field(
        None, description="maintenance margin as a fraction of notional, whatever the size; half of the initial margin "
        "if neither this nor tiers nor brackets are given")
    margin_tiers: tuple[MarginTierSettings, ...] = Field((), description="maintenance margin by notional")
    margin_brackets: Place | None = Field(
        None, description="a JSON file of tiers in the form of Binance's leverage brackets")

    @model_validator(mode="after")
    def _check_one_schedule(self) -> "_MarginTerms":
        given = [name for name in ("maintenance_rate", "margin_tiers", "margin_brackets") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}; expected one of them")
        return self


class AccountSettings(_MarginTerms):
    """What there is to trade with."""

    kind: Literal["cash", "margin"] = Field(
        "cash", description="`cash`: what is bought is paid for; `margin`: a part of it is put up, and perpetuals may "
        "be held (docs/accounts.md)")

    cash: Annotated[Decimal | dict[str, Decimal], BeforeValidator(cash_amounts)] = Field(
        Decimal(10_000), description="opening balance: a number, or one per currency (`{ USDT = 10000, EUR = 0 }`), "
        "the first being the one that results are reported in")
    currency: str = Field(
        "", description="the currency of a `cash` that is a number; what the first symbol is quoted in if left out")
    allow_short: bool = Field(
        False, description="whether selling more than is held opens a short position; perpetuals may be sold in any "
        "case")
    leverage: Leverage = Field(
        Decimal(1), description="of a margin account: largest notional ÷ equity; the initial margin is 1 ÷ leverage")
    margin_mode: Literal["cross", "isolated"] = Field(
        "cross", description="whether all positions of a currency stand surety for one another, or each perpetual for "
        "itself alone")
    liquidation_fee: Annotated[Decimal, Field(ge=0, lt=Decimal("0.1"))] = Field(
        Decimal("0.01"), description="fraction of notional charged for a liquidation, as far as the margin left goes")
    shortfall: Literal["covered", "owed"] = Field(
        "covered", description="what becomes of a loss beyond the margin: the venue covers it, or it is owed")
    interest_rate: YearlyRate = Field(
        Decimal(0), description="a year's interest on cash below 0, as a fraction; charged daily")
    borrow_rate: YearlyRate = Field(
        Decimal(0), description="a year's fee on what is sold short, as a fraction of its value; charged daily")

    @model_validator(mode="after")
    def _check(self) -> "AccountSettings":
        if isinstance(self.cash, dict) and self.currency:
            raise ValueError("has a currency, but its cash names currencies already; expected one of the two")
        of_margin = ("leverage", "margin_mode", "liquidation_fee", "shortfall", "maintenance_rate", "margin_tiers",
                     "margin_brackets", "interest_rate")
        # What says the default is let pass: the settings that a journal keeps of a run are written out in full.
        given = [name for name in of_margin if getattr(self, name) != type(self).model_fields[name].default]
        if self.kind == "cash" and given:
            what = ", ".join(given)
            raise ValueError(f'has {what}, which a cash account knows nothing of; expected kind = "margin"')
        return self


class InstrumentSettings(_MarginTerms):
    """What is known about an instrument."""

    kind: Literal["spot", "perpetual"] = Field(
        "spot", description="`spot`: bought and paid for; `perpetual`: a linear contract without end, whose results "
        "are paid in the quote currency")
    leverage: Leverage | None = Field(
        None, description="in a margin account: the account's if left out")
    borrow_rate: YearlyRate | None = Field(
        None, description="a year's fee on a short position; the account's if left out")
    funding_rate: Rate | None = Field(
        None, description="of a perpetual without `data.funding`: the rate of every payment, from longs to shorts "
        "where positive")
    funding_interval_hours: int = Field(8, ge=1, le=24, description="hours between two payments of `funding_rate`")
    settlement_days: int = Field(
        0, ge=0, le=10, description="trading days before what was bought may be sold; 1 is T+1")
    price_limit: PositiveShare | None = Field(
        None, description="how far a day's prices may lie from the previous close: 0.1 is 10 %; no limit if left out")
    timezone: str = Field("UTC", description="where a trading day ends at midnight, for the two rules above")

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
    as_of: Instant | None = Field(
        None, description="when these rules were read from the venue; results on much older data are then warned of")


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
    minimum: NotNegative = Field(Decimal(0), description="least fee of an order, in quote currency, charged once")
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
    calibrated: Place | None = Field(
        None, description="a file that `calibrate` wrote: fees, slippage and latency as they were in paper trading, "
        "where they are not set here")
    calibrated_as: str = Field("", description="which calibration that was; filled in when it is read")

    @model_validator(mode="before")
    @classmethod
    def _read_calibration(cls, value: Any, info: ValidationInfo) -> Any:
        try:
            return with_calibrated(value, (info.context or {}).get("folder", Path.cwd()))
        except SettingsError as exc:
            raise ValueError(str(exc)) from exc


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
    volume_cap: Annotated[float | Literal["none"] | None, BeforeValidator(cap_of_volume)] = Field(
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
    bounds: Annotated[bool | Literal["auto"], BeforeValidator(bounds_choice)] = Field(
        "auto", description="whether to work out how bad and how good the result may be where bars leave open what "
        'filled first (docs/bounds.md); `"auto"` does in runs of up to 250,000 bars')

    def switches(self, seed: int) -> Switches:
        """Return the switches meant; `seed` is used where chance decides and none is set here."""
        given = self.model_dump(exclude={"profile", "bounds"})
        changes = {name: value for name, value in given.items() if value is not None}
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


# ── [risk] ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _limits(value: Any) -> Any:
    """Return one limit or a table of them, checked here so that a fault is told once and not for each kind."""
    try:
        limits = [amount(limit) for limit in (value.values() if isinstance(value, Mapping) else (value,))]
    except (ArithmeticError, ValueError):
        expected = 'expected a number, 0 or more, or a table such as { default = 2, "BTC/USDT" = 0.5 }'
        raise ValueError(expected) from None
    return dict(zip(value, limits, strict=True)) if isinstance(value, Mapping) else limits[0]


def _wait(value: str) -> str:
    return value if value in ("never", "next_day") else timeframe_name(value)


def _fresh(value: str) -> str:
    return value if value in ("never", "fresh") else timeframe_name(value)


def _not_by_day(value: str) -> str:
    if value == "next_day":
        raise ValueError('expected a span such as "1d", or "never"; days begin for daily_loss alone')
    return value


def _as_tables(value: Any) -> Any:
    """Take a rule's bare name for a table that has nothing else."""
    if isinstance(value, str | Mapping):
        value = (value,)
    if not isinstance(value, list | tuple):
        return value
    return [{"rule": one} if isinstance(one, str) else one for one in value]


LimitOrTable = Annotated[Decimal | dict[str, Decimal], BeforeValidator(_limits)]
Wait = Annotated[str, AfterValidator(_wait)]
Action = Literal["refuse", "cancel", "flatten"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
_ACTION = (
    "what a halt does: `refuse` whatever could open or enlarge a position, and withdraw working orders that could; "
    "`cancel` every working order too; `flatten` every position too, at market")
_LIFT_AFTER = "when trading may go on by itself: after a span such as `1d`, or `never`"


class OrderRateSettings(Section):
    """Most orders within a window."""

    orders: int = Field(ge=1, description="how many may be sent within the window")
    window: Span = Field("1m", description="its length, in the loop's time")


class MaxOpenOrdersSettings(Section):
    """Most working orders at once."""

    orders: int | None = Field(None, ge=1, description="in all")
    per_symbol: int | None = Field(None, ge=1, description="of one symbol")


class FatFingerSettings(Section):
    """Orders that are a slip of the hand."""

    price_band: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="most that a limit or stop may be away from the last close, as a "
        "fraction of it; reducing orders too")
    volume_share: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="most quantity of an order ÷ average volume of the last bars")
    volume_bars: int = Field(20, ge=1, description="how many bars are averaged")


class DailyLossSettings(Section):
    """Most that may be lost in a day, realised and unrealised; then trading halts."""

    fraction: Fraction | None = Field(None, description="of the day's opening equity")
    amount: float | None = Field(None, gt=0, allow_inf_nan=False, description="in the account's currency")
    hour: int = Field(0, ge=0, le=23, description="UTC hour at which days begin")
    action: Action = Field("refuse", description=_ACTION)
    lift_after: Wait = Field("never", description=f"{_LIFT_AFTER}, or `next_day`")

    @model_validator(mode="after")
    def _check(self) -> "DailyLossSettings":
        if self.fraction is None and self.amount is None:
            raise ValueError("has no limit; expected a fraction such as 0.03, an amount, or both")
        return self


class DrawdownSettings(Section):
    """Most that equity may fall below its highest close; then trading halts."""

    fraction: Fraction = Field(description="of the highest equity so far")
    action: Action = Field("refuse", description=_ACTION)
    lift_after: Wait = Field("never", description=_LIFT_AFTER)

    _check_wait = field_validator("lift_after")(_not_by_day)


class CoolDownSettings(Section):
    """A pause after losing trades in a row."""

    losses: int = Field(ge=1, description="how many in a row")
    pause: Span = Field(description="for how long nothing may be opened")
    per: Literal["symbol", "account"] = Field("symbol", description="what is counted, and paused, by itself")
    action: Action = Field("refuse", description=_ACTION)


class FeedLimitSettings(Section):
    """What is allowed of a live feed, in seconds; beyond it trading halts."""

    seconds: float = Field(gt=0, allow_inf_nan=False, description="the most that is allowed")
    action: Action = Field("refuse", description=_ACTION)
    lift_after: Annotated[str, AfterValidator(_fresh)] = Field(
        "never", description=f"{_LIFT_AFTER}, or `fresh`: once the feed says that all is well again")


class ForecastAgeSettings(Section):
    """How old the forecast behind a position may become; then trading in it halts."""

    limit: Span = Field(
        description="from the bars that it was made of to the close at which it is looked at, before that close's own")
    action: Action = Field("refuse", description=_ACTION)
    lift_after: Wait = Field("never", description=_LIFT_AFTER)

    _check_wait = field_validator("lift_after")(_not_by_day)


class RuleSettings(Section):
    """A rule of one's own."""

    rule: str = Field(
        description="its class: `module:Class`, `Class` in a folder's file, or the name of an installed entry point")
    parameters: dict[str, Any] = Field(default_factory=dict, description="the rule's own parameters")
    action: Action | None = Field(None, description="what its halts do; the rule's own choice if left out")
    lift_after: Wait | None = Field(None, description="when its halts end by themselves; the rule's own if left out")


class RiskSettings(Section):
    """What the gate before the broker refuses."""

    max_position: LimitOrTable | None = Field(
        None, description='most quantity held of a symbol, either way, in base asset: a number, or a table, '
        '`{ default = 2, "BTC/USDT" = 0.5 }`')
    max_order_notional: LimitOrTable | None = Field(
        None, description="most that one order may be worth, in quote currency: a number, or a table")
    max_position_notional: LimitOrTable | None = Field(
        None, description="most that a position may be worth when an order adds to it: a number, or a table")
    max_gross_leverage: Positive | None = Field(
        None, description="most notional of all positions ÷ equity of the account")
    max_net_leverage: Positive | None = Field(None, description="the same, long less short")
    allow: Names = Field((), description="the only symbols that may be traded; all if left out")
    forbid: Names = Field((), description="symbols that may not be traded")
    reduce_only: bool = Field(False, description="whether nothing but what reduces a position may be sent")
    max_open_orders: MaxOpenOrdersSettings | None = Field(None, description="most working orders at once")
    order_rate: OrderRateSettings | None = Field(None, description="most orders within a window")
    fat_finger: FatFingerSettings | None = Field(None, description="orders that are a slip of the hand")
    daily_loss: DailyLossSettings | None = Field(
        None, description="most that may be lost in a day, realised and unrealised; then trading halts")
    drawdown: DrawdownSettings | None = Field(
        None, description="most that equity may fall below its highest close; then trading halts")
    cool_down: CoolDownSettings | None = Field(None, description="a pause after losing trades in a row")
    stale_data: FeedLimitSettings | None = Field(
        None, description="how long a live feed may say nothing of a symbol; then trading halts")
    feed_lag: FeedLimitSettings | None = Field(
        None, description="how late a live feed's bars may come; then trading halts")
    clock_skew: FeedLimitSettings | None = Field(
        None, description="how far our clock may be from the venue's, either way; then trading halts")
    forecast_age: ForecastAgeSettings | None = Field(
        None, description="how old the forecast behind a position may become; then trading in it halts")
    rules: Annotated[tuple[RuleSettings, ...], BeforeValidator(_as_tables)] = Field(
        (), description='rules of your own, by name or as tables: `rules = ["my_rules:MyRule"]`, or `[[risk.rules]]`')
    folders: Places = Field((), description="folders with files of such rules")


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
        try:
            return journal_url(url, (info.context or {}).get("folder", Path.cwd()))
        except SettingsError as exc:
            raise ValueError(str(exc)) from exc


class ReportSettings(Section):
    """The HTML report."""

    html: Place | None = Field(None, description="where to write it; no report if left out")
    benchmark: str = Field(
        "buy_and_hold", description="what equity is compared with: `buy_and_hold` (equal parts of every symbol), or "
        "one symbol held")


class SkillSettings(Section):
    """When a model shows no skill, targets that rest on it are made smaller."""

    window: int = Field(200, ge=1, description="scored forecasts looked back on")
    least: int = Field(50, ge=1, description="scored forecasts needed to judge; targets are left alone before")
    floor: float = Field(
        0.0, description="skill below which it counts as none: over a volatility cone (paths, quantiles), over a "
        "random walk (returns), over the base rate of rises (chances), or the mean rank IC (scores)")
    scale: float = Field(0.5, ge=0, le=1, description="what targets are multiplied with then")

    @model_validator(mode="after")
    def _check(self) -> "SkillSettings":
        if self.least > self.window:
            raise ValueError(f"least is {self.least}, window {self.window}; expected least to be at most window")
        return self


class ModelSettings(Section):
    """A model that strategies may ask for forecasts."""

    artefact: Place | None = Field(None, description="the folder of a trained network; `models list` shows some")
    forecaster: str | None = Field(
        None, description="instead of an artefact: a class of your own, `module:Class` or `file.py:Class`")
    folders: Places = Field((), description="folders with files of such classes")
    device: str = Field("auto", description="`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` or `mps`")
    timeframe: Span | None = Field(
        None, description="of the bars it reads; the artefact's own, or the first of `data.timeframe`, if left out")
    latency: float = Field(
        0.0, ge=0, le=86_400, description="seconds from the close of a bar until a forecast can be used")
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the architecture, such as Kronos' `horizon` and `samples`: "
        "docs/forecasting.md")
    skill: SkillSettings | None = Field(None, description="scale positions down when it shows no skill")
    retrain: Span | None = Field(
        None, description="train it again every so often of the market's time, such as `30d`, on what was known by "
        "then: docs/training.md")
    training: Place | None = Field(None, description="with `retrain`: the settings it is trained by")
    retrain_keep: int = Field(
        20, ge=1, description="with `retrain`: trainings kept beside the artefact; of a session's, beside its journal")
    retrain_within: Span = Field(
        "12h", description="with `retrain`, in a session: how long a training may take before it is ended")

    @model_validator(mode="after")
    def _check(self) -> "ModelSettings":
        if self.retrain is not None and (self.artefact is None or self.training is None):
            raise ValueError("has retrain; expected an artefact to begin with, and training, the settings of `train`")
        if (self.artefact is None) == (self.forecaster is None):
            raise ValueError("expected either artefact (a folder) or forecaster (module:Class)")
        return self


class SeriesSettings(Section):
    """A series of numbers that is the same for all symbols, for models that join it."""

    path: Place = Field(description="a CSV or Parquet file: a column of times and columns of numbers")
    time: str = Field("available_at", description="its column of times at which a row became known, UTC")
    columns: Names = Field((), description="which columns; all others if left out")


class ForecastSettings(Section):
    """How forecasts are made and kept."""

    enabled: bool = Field(True, description="whether answers are stored, so that no run computes one again")
    store: Place = Field(
        FORECAST_STORE, description="the file they are stored in; runs/forecasts.db in the checkout if left out")
    limit_gb: float = Field(4.0, gt=0, description="its size, in GB, beyond which the oldest answers are dropped")
    batch: int = Field(256, ge=1, description="windows computed at once, at most; fewer when memory runs out")


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
    risk: RiskSettings = Field(
        default_factory=RiskSettings, description="what the gate before the broker refuses; docs/risk.md explains "
        "every rule. Nothing, beside the venue's own filters, if left out")
    models: dict[str, ModelSettings] = Field(
        default_factory=dict, description="the models that strategies may ask, each under its name, `[models.kronos]`: "
        "docs/forecasting.md")
    series: tuple[SeriesSettings, ...] = Field(
        (), description="series of numbers, the same for all symbols, that models were trained with (`tft.macro`): "
        "docs/forecasting.md")
    forecasts: ForecastSettings = Field(
        default_factory=ForecastSettings, description="how the forecasts of models are made and kept")
    live: LiveSettings = Field(default_factory=LiveSettings, description="how `paper` runs a live session")
    journal: JournalSettings = Field(default_factory=JournalSettings, description="the record of the run, in SQL")
    report: ReportSettings = Field(default_factory=ReportSettings, description="the HTML report")

    @model_validator(mode="after")
    def _check_detail(self) -> "Settings":
        path = self.fills.switches(self.run.seed).path
        if self.data.detail is not None and path != "detail" and self.fills.bounds is False:
            raise ValueError(
                f'data.detail is looked at by fills.path = "detail" and for bounds, and the path is "{path}" and '
                "fills.bounds is false")
        return self


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
    """Return the URL of a journal given as a URL or as a file's path, relative paths taken from a folder.

    Raises:
        SettingsError: the path leads nowhere.
    """
    if "://" not in text:
        try:
            return f"sqlite:///{resolved(text, folder)}"
        except ValueError as exc:
            raise SettingsError(f"journal {shortened(text)!r}: {exc}") from exc
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
    given, origins = read_tables(path, overrides)
    settings = settings_from(given, folder=path.parent, origin=str(path), origins=origins)
    if not settings.run.name:
        named = settings.run.model_copy(update={"name": path.stem})
        settings = settings.model_copy(update={"run": named})
    return settings


def read_tables(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Return what a TOML file and overrides say, and where the overridden keys come from.

    Raises:
        SettingsError: the file cannot be read or is no TOML.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise SettingsError(f"{path}: cannot be read: it is {kind}; expected a TOML file")
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; config/examples has some to start from") from None
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path}: cannot be read: {exc}") from exc
    try:
        given = tomllib.loads(text)
    except _NOT_TOML as exc:
        raise SettingsError(f"{path}: not valid TOML: {shortened(str(exc))}") from exc
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        keys, value = _parse_override(override)
        _put(given, keys, value, override)
        origins[keys] = f"--set {shortened(override)}"
    return given, origins


def device_changes(settings: Settings, device: str) -> list[str]:
    """Return the overrides that put every model of some settings on a device; none where there is no artefact."""
    return [
        f"models.{json.dumps(name)}.device={json.dumps(device)}"
        for name, model in settings.models.items() if model.artefact is not None
    ]


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
    refuse_secrets(given, origin)
    return checked(Settings, given, folder=folder, origin=origin, origins=origins)


def checked(
    kind: type[S], given: Mapping[str, Any], *, folder: Path, origin: str,
    origins: Mapping[tuple[str, ...], str] | None = None,
) -> S:
    """Return checked settings of a kind; see `settings_from`."""
    try:
        return kind.model_validate(given, context={"folder": folder})
    except ValidationError as exc:
        faults = without_followers([fault_of(error, given, kind) for error in exc.errors(include_url=False)])
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


_NOT_TOML = (tomllib.TOMLDecodeError, ValueError, RecursionError)
"""What tomllib raises: also for a number of thousands of digits, and for brackets within brackets within brackets."""


def _parse_override(override: str, option: str = "--set") -> tuple[tuple[str, ...], Any]:
    key, equals, text = override.partition("=")
    # A quoted key may hold an equals sign; TOML itself says where the key ends.
    try:
        node: Any = tomllib.loads(f"{key.strip()} = 0") if "\n" not in key.strip() else None
    except _NOT_TOML:
        node = None
    if not equals or not node:
        raise SettingsError(f"{option} {shortened(override)}: expected KEY=VALUE, such as data.seed=7")
    keys = []
    while isinstance(node, dict):
        [(name, node)] = node.items()
        keys.append(name)
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return tuple(keys), text.strip()
    except _NOT_TOML as exc:
        raise SettingsError(f"{option} {shortened(override)}: not a value: {shortened(str(exc))}") from exc
    if list(read) != ["value"]:
        raise SettingsError(f"{option} {shortened(override)}: expected one value; give each setting its own {option}")
    return tuple(keys), read["value"]


def _put(tables: dict[str, Any], keys: tuple[str, ...], value: Any, override: str) -> None:
    for place, key in enumerate(keys[:-1], 1):
        below = tables.setdefault(key, {})
        if not isinstance(below, dict):
            raise SettingsError(
                f"--set {shortened(override)}: {shortened('.'.join(keys[:place]))} is {shortened(repr(below))}, which "
                "has nothing inside it"
            )
        tables = below
    tables[keys[-1]] = value
