"""Settings of `main.py train`: what a TOML file may say, checked before training. docs/training.md explains them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from config.select_settings import SelectSettings
from config.setting_types import Instant, Place, Section, Span, instant_of
from config.settings import RUNS, CostSettings, DataSettings, checked, read_tables
from config.tft_settings import AugmentSettings, TFTSettings


def _cut(value: Any) -> Any:
    """Take a share of the data's time, or a time."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value <= 1:
            raise ValueError("expected a share of the data's time above 0 and up to 1, or a time such as 2024-06-01")
        return float(value)
    return instant_of(value)


Cut = Annotated[float | datetime, BeforeValidator(_cut)]


def _source(value: Any, info: ValidationInfo) -> Any:
    """Take a folder beside the settings file for a path, anything else for a Hub id."""
    folder = (info.context or {}).get("folder", Path.cwd())
    return str((folder / value).resolve()) if isinstance(value, str) and value and (folder / value).is_dir() else value


Source = Annotated[str, BeforeValidator(_source)]


def _name(value: str) -> str:
    """Take a name that a folder can begin with."""
    if any(letter in value for letter in "/\\\0") or (value and not value.strip()) or len(value) > 150:
        raise ValueError("expected a name that a folder can have, without / or \\; train.folder says where it goes")
    return value


Name = Annotated[str, AfterValidator(_name)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSettings(Section):
    """The optimiser; what is left out is the recipe's own."""

    kind: Literal["adam", "adamw", "sgd"] | None = Field(None, description="which")
    rate: float | None = Field(None, gt=0, lt=1e6, allow_inf_nan=False, description="the highest learning rate")
    weight_decay: float | None = Field(None, ge=0, lt=1e6, allow_inf_nan=False, description="how much weights shrink")
    betas: tuple[Beta, Beta] | None = Field(None, description="Adam's; SGD takes the first for its momentum")


class ScheduleSettings(Section):
    """The learning rate over the run; what is left out is the recipe's own."""

    kind: Literal["constant", "one_cycle", "cosine"] | None = Field(None, description="its shape")
    warm_up: float | None = Field(None, ge=0, lt=1, description="share of all steps in which it rises")
    first: float | None = Field(None, gt=0, le=1, description="share of the highest that `one_cycle` begins at")
    last: float | None = Field(None, ge=0, le=1, description="share of the highest that the run ends at")
    cycles_momentum: bool | None = Field(None, description="whether Adam's first beta goes the other way")


class TrainSettings(Section):
    """How the network is trained; what is left out is the recipe's own."""

    name: Name = Field("", description="what to call the run; the settings file's name if left out")
    folder: Place = Field(RUNS, description="where its folder goes; runs/ in the checkout if left out")
    seed: int = Field(0, ge=0, description="of everything random")
    device: str = Field("auto", description="`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` or `mps`")
    precision: Literal["32", "bf16"] = Field("32", description="`bf16` computes large products in bfloat16")
    epochs: int | None = Field(None, ge=1, description="passes over the training rows")
    batch: int | None = Field(None, ge=1, description="rows of a step, over all processes together")
    accumulate: int = Field(1, ge=1, description="slices that a batch is computed in, for want of memory")
    patience: int | None = Field(None, ge=0, description="epochs without a better score until it ends; 0 never")
    clip_norm: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="largest norm of the gradients; 0 leaves them alone")
    clip_value: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="largest of each gradient; 0 leaves them alone")
    keep: int = Field(1, ge=1, description="best checkpoints kept, beside the last")
    checkpoint_steps: int = Field(0, ge=0, description="steps between checkpoints within an epoch; 0 for none")
    schedule_epochs: int = Field(0, ge=0, description="epochs that the schedule is laid out for; 0 for `epochs`")
    stop_after: int = Field(0, ge=0, description="epochs of this sitting; 0 for all. `--resume` goes on")
    threads: int = Field(
        1, ge=0, le=1024,
        description="of the CPU; 0 leaves it to torch. With 1, sums are made in one order on every machine")
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings, description="the optimiser")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="the learning rate over the run")


class SplitSettings(Section):
    """Which bars train and which judge. Nothing after `end` is looked at."""

    start: Instant | None = Field(None, description="first decision that trains; the first bar if left out")
    valid: Cut = Field(0.7, description="when judging begins: a share of the data's time, or a time")
    end: Cut = Field(0.85, description="when it ends; what comes after is for `evaluate` and backtests")
    embargo: int = Field(0, ge=0, description="bars left out after training's last label")


class LogSettings(Section):
    """Where metrics go, beside metrics.jsonl."""

    tensorboard: bool = Field(True, description="write event files below the run's folder")
    mlflow: str = Field("", description="an MLflow server's address, or a database's: `sqlite:///mlflow.db`")
    comet: str = Field(
        "", description="a Comet project. The environment has its key, COMET_API_KEY; or COMET_OFFLINE_DIRECTORY, a "
        "folder that keeps the run for `comet upload`")


class WarmStartSettings(Section):
    """What `--warm-start` must find, and how the run then learns."""

    least: float = Field(0.5, ge=0, le=1, description="share of the network that must be taken over")
    rate: float = Field(0.1, gt=0, le=1, description="share of the learning rate; there is no warm-up unless asked for")


class KRNNSettings(Section):
    """KRNN on Alpha360: sizes and labels."""

    cnn_dim: int = Field(16, ge=1, description="channels of the convolution")
    cnn_kernel_size: int = Field(3, ge=1, description="bars that it sees at once")
    rnn_dim: int = Field(16, ge=1, description="units of each recurrent network")
    rnn_dups: int = Field(2, ge=1, description="recurrent networks side by side")
    rnn_layers: int = Field(1, ge=1, description="layers of each")
    dropout: float = Field(0.0, ge=0, lt=1, description="between layers")
    layout: Literal["field_major", "qlib_raw"] = Field(
        "field_major", description="`qlib_raw` reads Alpha360 in the wrong order, as Qlib's own KRNN does")
    agg: Literal["mean", "node"] = Field(
        "mean", description="of the recurrent networks: their mean, or with weights learned for each symbol")
    pool: Literal["last", "max"] = Field("last", description="what is read of them: their last step, or their maxima")
    lag: int = Field(1, ge=0, description="bars from the decision to the trade")
    horizon: int = Field(1, ge=1, description="bars held")
    price: Literal["close", "open"] = Field("close", description="what the label is traded at")
    label: Literal["rank", "qlib_rank", "zscore", "scaled"] = Field(
        "rank", description="what is learned of the returns at an instant; `scaled` for a single symbol")
    batching: Literal["shuffled", "instants"] = Field("shuffled", description="rows, or whole cross-sections")


class _WindowSettings(Section):
    lookback: int = Field(90, ge=2, description="bars that a window is normalised on")
    horizon: int = Field(10, ge=1, description="bars ahead that it is trained for")
    samples: int = Field(0, ge=0, description="windows drawn in an epoch; 0 for all")
    judged: int = Field(400, ge=1, description="windows that judge, evenly spread")
    clock: str = Field("UTC", description="the wall clock of the calendar, a zone such as Asia/Shanghai")


class KronosTokenizerSettings(_WindowSettings):
    """Kronos' tokenizer: sizes (tiny, for the CPU) and windows."""

    pretrained: Source = Field("", description="a tokenizer to begin with: folder, Hub id, artefact; sizes are its")
    d_model: int = Field(32, ge=1, description="width")
    n_heads: int = Field(4, ge=1, description="heads")
    ff_dim: int = Field(64, ge=1, description="width of the feed-forward layers")
    n_enc_layers: int = Field(2, ge=1, description="blocks of the encoder, plus one")
    n_dec_layers: int = Field(2, ge=1, description="blocks of the decoder, plus one")
    s1_bits: int = Field(6, ge=1, le=20, description="bits of the coarse half")
    s2_bits: int = Field(6, ge=1, le=20, description="bits of the fine half")
    group_size: int = Field(4, ge=1, description="of a buffer in the files; a divisor of the bits")
    beta: float = Field(0.05, allow_inf_nan=False, description="weight of commitment")
    gamma0: float = Field(1.0, allow_inf_nan=False, description="weight of undecided bits")
    gamma: float = Field(1.1, allow_inf_nan=False, description="weight of the codebook's entropy")
    zeta: float = Field(0.05, allow_inf_nan=False, description="weight of both")


class KronosSettings(_WindowSettings):
    """Kronos' predictor: sizes (tiny, for the CPU) and windows."""

    tokenizer: Source = Field("", description="required: a folder, a Hub id, or an artefact of a tokenizer or a kronos")
    pretrained: Source = Field("", description="a predictor to begin with: folder, Hub id, artefact; sizes are its")
    tuning: Literal["all", "head", "lora"] = Field("all", description="what of a pretrained predictor is trained")
    rank: int = Field(8, ge=1, description="of LoRA's matrices")
    teacher: bool = Field(False, description="predict s2 with the s1 that came, not with one that is drawn")
    max_context: int = Field(512, ge=2, description="tokens that it is used with")
    n_layers: int = Field(2, ge=1, description="blocks")
    d_model: int = Field(64, ge=1, description="width")
    n_heads: int = Field(4, ge=1, description="heads")
    ff_dim: int = Field(128, ge=1, description="width of the feed-forward layers")
    dropout: float = Field(0.0, ge=0, lt=1, description="of all kinds")
    learn_te: bool = Field(True, description="whether the calendar's tables are trained")


class PriceSettings(Section):
    """PriceTransformer: sizes (nano if left out) and windows."""

    preset: Literal["nano", "tiny", "small", "base", "large"] = Field("nano", description="its sizes")
    horizons: int = Field(7, ge=1, description="bars ahead that it speaks of")
    dropout: float = Field(0.0, ge=0, lt=1, description="in training")
    experts: int = Field(0, ge=0, description="feed-forward layers of each block that tokens choose two of; 0 for one")
    lookback: int = Field(48, ge=10, description="bars of a window")
    every: int = Field(1, ge=1, description="every how manieth window trains")


class PositionSettings(Section):
    """The position head over a trained PriceTransformer. What trading costs is `[costs]`, as for a backtest."""

    price: Source = Field("", description="required: the artefact of a PriceTransformer that `train price` made")
    allow_unskilled: bool = Field(False, description="go on although it does not beat a random walk")
    state: int = Field(32, ge=1, description="units of the memory")
    short: bool = Field(False, description="whether shares go from -1, not from 0")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the memory, in training")
    steps: int = Field(20, ge=2, description="bars that are learned from at once")
    burn: int = Field(20, ge=0, description="bars before them that warm the memory")
    every: int = Field(10, ge=1, description="bars from one such segment's beginning to the next one's")
    first_temperature: float = Field(1.0, gt=0, description="of the choice at the beginning")
    last_temperature: float = Field(0.3, gt=0, description="at the end, and in serving")
    exploration: Literal["segment", "step", "none"] = Field(
        "segment", description="how often the noise of choices is drawn: for a segment, at every step, or never")
    entropy: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="what choices less open than the floor cost; 0 for none")
    entropy_floor: float = Field(
        0.3, ge=0, le=1, description="share of the greatest entropy that choices keep, at temperature 1")
    jitter: float = Field(0.02, ge=0, description="deviation of what is fed back from what was chosen")
    objective: Literal[
        "after_cost", "original", "relative_return", "risk_cost", "opportunity_cost", "information_ratio"
    ] = Field("after_cost", description="growth of wealth after costs, or one of the original's losses by its name")
    variance: float = Field(0.5, ge=0, description="weight of variance in `after_cost`")
    drawdown: float = Field(0.1, ge=0, description="weight of the deepest fall")
    opportunity: float = Field(0.0, ge=0, description="weight of what was missed, by the regime known before")
    hysteresis: float = Field(0.02, ge=0, description="in serving: how far beyond half a step a wish must be to trade")


class TrainingSettings(Section):
    """Everything a training run is made of."""

    train: TrainSettings = Field(default_factory=TrainSettings, description="how the network is trained")
    data: DataSettings = Field(description="where the bars come from, as for a backtest")
    split: SplitSettings = Field(default_factory=SplitSettings, description="which bars train and which judge")
    timeframe: Span | None = Field(None, description="of the bars that are learned from; the first if left out")
    log: LogSettings = Field(default_factory=LogSettings, description="where metrics go")
    warm_start: WarmStartSettings = Field(default_factory=WarmStartSettings, description="begun with weights")
    costs: CostSettings = Field(default_factory=CostSettings, description="what trading costs, for the position head")
    augment: AugmentSettings = Field(
        default_factory=AugmentSettings,
        description="changes of windows that train KRNN, Kronos or PriceTransformer; the transformer has `tft.augment`")
    krnn: KRNNSettings = Field(default_factory=KRNNSettings, description="KRNN")
    kronos_tokenizer: KronosTokenizerSettings = Field(
        default_factory=KronosTokenizerSettings, description="Kronos' tokenizer")
    kronos: KronosSettings = Field(default_factory=KronosSettings, description="Kronos' predictor")
    price: PriceSettings = Field(default_factory=PriceSettings, description="PriceTransformer")
    position: PositionSettings = Field(default_factory=PositionSettings, description="the position head")
    select: SelectSettings = Field(default_factory=SelectSettings, description="how `select` chooses features")
    tft: TFTSettings = Field(default_factory=TFTSettings, description="the temporal fusion transformer")


def load_training(path: Path, overrides: Sequence[str] = ()) -> TrainingSettings:
    """Return the settings of a TOML file, some of them changed; the run's name is the file's if it has none.

    Raises:
        SettingsError: as config.settings.load_settings.
    """
    given, origins = read_tables(path, overrides)
    settings = checked(TrainingSettings, given, folder=path.parent, origin=str(path), origins=origins)
    if settings.train.name:
        return settings
    named = settings.train.model_copy(update={"name": path.stem})
    return settings.model_copy(update={"train": named})
