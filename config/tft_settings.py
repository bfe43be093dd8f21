"""Settings of the transformer's training: what it is fed and asked, and how targets are weighed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from config.setting_types import Names, Place, Section, Span


def _as_target(value: Any) -> Any:
    """Take a target's bare name for a table that has nothing else."""
    if isinstance(value, str | Mapping):
        value = (value,)
    if not isinstance(value, list | tuple):
        return value
    return [{"kind": one} if isinstance(one, str) else one for one in value]


class TargetSettings(Section):
    """Something that is forecast."""

    kind: str = Field(description="which of the fourteen, such as `logreturn` or `binarytrend`; see docs/training.md")
    horizon: int | None = Field(None, ge=1, description="bars ahead; `tft.horizon` if left out")
    name: str = Field("", description="its own, where there are two of a kind")
    quantiles: tuple[float, ...] = Field((), description="levels, of a number of which quantiles are forecast")
    options: dict[str, float] = Field(default_factory=dict, description="of its formula, such as `{ k = 1.5 }`")


class StageSettings(Section):
    """Weights of targets from an epoch on."""

    epoch: int = Field(0, ge=0, description="the first in which they hold; epochs count from 0")
    weights: dict[str, float] = Field(description="by target; what is left out weighs 1")


class ScoreSettings(Section):
    """A metric's part in the score that checkpoints are chosen by."""

    metric: str = Field(description="its name: `val_<target>_<metric>@<period>`, such as `val_logreturn_rmse@1h`")
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="above 0, whichever way is better")
    goal: Literal["min", "max"] = Field("max", description="which way is better")
    scale: float = Field(1.0, gt=0, description="of `min`: exp(−value / scale)")
    base: float = Field(0.0, description="of `max`: the value that is worth 0, such as 0.5 for roc_auc")
    best: float = Field(1.0, description="of `max`: the value that is worth 1")


class AugmentSettings(Section):
    """Changes of training windows; off unless asked for."""

    noise: float = Field(
        0.0, ge=0,
        description="deviation of what is added, in the features' scales; to bars, in deviations of a return")
    scaling: float = Field(
        0.0, ge=0,
        description="deviation of the logarithm of a factor for each feature; for a window's moves, of bars")
    warp: float = Field(0.0, ge=0, description="deviation of the logarithm of local speed")
    slicing: float = Field(0.0, ge=0, le=1, description="largest share of the oldest bars that is cut off")
    share: float = Field(1.0, ge=0, le=1, description="of windows that are changed")


class MacroSettings(Section):
    """A series that is the same for all symbols, from a CSV or Parquet file."""

    path: Place = Field(description="the file: a column of times and columns of numbers")
    time: str = Field("available_at", description="its column of times at which a row became known, UTC")
    columns: Names = Field((), description="which columns; all others if left out")
    step: Span = Field("1d", description="the usual time between two rows, in which `tolerance` counts")
    tolerance: float = Field(2.0, gt=0, description="how many steps old a value may be")


class TFTSettings(Section):
    """The temporal fusion transformer: data, sizes, losses."""

    features: tuple[str, ...] = Field(
        ("log_return", "body", "upper_wick", "lower_wick", "momentum(5)", "momentum(20)", "rsi(14)", "volatility(20)",
         "volatility_ratio(10, 60)", "bollinger_b(20, 2)", "volume_ratio(20)", "obv_balance(14)"),
        description="what it is fed, by name: `rsi(14)`, `RSI(14)` of TA-Lib, `z(atr_ratio(14), 96)`")
    targets: Annotated[tuple[TargetSettings, ...], BeforeValidator(_as_target)] = Field(
        (TargetSettings(kind="logreturn", quantiles=(0.1, 0.5, 0.9)), TargetSettings(kind="binarytrend")),
        description="what it forecasts: names, or tables")
    horizon: int = Field(1, ge=1, description="bars ahead, of targets that say none")
    lookback: int = Field(96, ge=2, description="bars of the past")
    timeframes: Names = Field((), description="whose bars are learned from, each a period; all that are not joined")
    joined: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description='features of slower bars of the same symbol: `{ "4h" = ["rsi(14)"] }`')
    reference: str = Field("", description="a symbol whose features all others get")
    reference_features: tuple[str, ...] = Field((), description="which")
    beta: int = Field(0, ge=0, description="bars over which a symbol's beta on the reference is taken; 0 for none")
    known: tuple[str, ...] = Field(
        ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos"), description="waves of the calendar, known ahead")
    allow_list: Place | None = Field(None, description="file of the features that are kept, one a line")
    macro: tuple[MacroSettings, ...] = Field((), description="series that are the same for all symbols")
    lag: Span | None = Field(None, description="from a bar's close until it is known; none if left out")
    short_groups: Literal["skip", "error"] = Field(
        "skip", description="what becomes of a symbol that has too few bars for a window")
    hidden_size: int = Field(32, ge=1, description="width of the network")
    lstm_layers: int = Field(1, ge=1, description="layers of its recurrent part")
    attention_head_size: int = Field(4, ge=1, description="how many heads")
    hidden_continuous_size: int = Field(8, ge=1, description="how wide a real is made")
    dropout: float = Field(0.1, ge=0, lt=1, description="in training")
    weighing: Literal["uncertainty", "fixed"] = Field(
        "uncertainty", description="whether how much each target counts is learned, on top of `stages`")
    stages: tuple[StageSettings, ...] = Field((), description="weights of targets by epoch")
    class_weights: bool = Field(True, description="rare events weigh more in training; forecasts are set right again")
    symbol_dropout: float = Field(0.05, ge=0, le=1, description="share of windows whose symbol is hidden")
    score: tuple[ScoreSettings, ...] = Field((), description="what checkpoints are chosen by; `val_loss` if left out")
    augment: AugmentSettings = Field(default_factory=AugmentSettings, description="changes of training windows")
    outliers: bool = Field(
        False, description="whether to tell how many rows that judge are outliers to training's; none is left out")
    plots_every: int = Field(5, ge=0, description="epochs between two sets of plots in the run's folder; 0 for none")
