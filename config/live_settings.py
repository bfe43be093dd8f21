"""Settings of live sessions: the venue the bars come from (`[data] source = "venue"`), and how a session is run
(`[live]`)."""

from typing import Any, Literal

from pydantic import Field, field_validator

from config.setting_types import Names, Place, Section, Span


class FurtherVenue(Section):
    """Another exchange that is followed in the same session."""

    venue: str = Field(description="which exchange, as ccxt calls it")
    symbols: Names = Field(min_length=1, description="which symbols to follow there")
    prefix: str = Field(
        "", description='put before each symbol to name it, where two exchanges trade one: `"okx:"` makes '
        "`okx:BTC/USDT`")
    api_urls: dict[str, Any] | None = Field(
        None, description="instead of the exchange's own addresses, those of a venue on this machine")
    options: dict[str, Any] = Field(default_factory=dict, description="further options of ccxt's")


class FeedSettings(Section):
    """What is asked of a live feed; docs/live_feeds.md explains every setting."""

    bars: Literal["candles", "trades"] = Field(
        "candles", description="what bars are made of: the venue's candles, or its trades, one by one")
    grace_seconds: float = Field(
        2.0, gt=0, le=600, description="how long after its close a bar is waited for, before the venue is asked "
        "for it; the venue's own final word on the stream counts at once")
    deadline_seconds: float = Field(
        5.0, gt=0, le=600, description="how long a silent symbol holds up the others, whose bars have closed")
    late_seconds: float = Field(
        5.0, gt=0, le=600, description="how long after its close a bar counts as late, which the risk gate is told")
    stale_after: float = Field(
        60.0, gt=0, le=86_400, description="seconds of silence after which the venue is asked whether it still lives; "
        "if it does not answer, data count as stale, and nothing is decided")
    skew_seconds: float = Field(
        1.0, gt=0, le=60, description="difference between our clock and the venue's that the risk gate is told")
    timeout_seconds: float = Field(10.0, gt=0, le=120, description="how long one request may take")
    connections: int = Field(4, ge=1, le=64, description="most requests to the venue at once")
    subscription: int = Field(
        0, ge=0, le=1000, description="symbols in one subscription of a stream; as many as the venue takes if 0")
    trades: bool = Field(True, description="whether trades are followed; the paper broker needs them")
    books: bool = Field(True, description="whether order books are followed; the paper broker needs them")
    book_levels: int = Field(20, ge=1, le=1000, description="levels of the book that are looked at")


class LiveSettings(Section):
    """How a live session is run."""

    broker: Literal["paper", "simulated", "sandbox"] = Field(
        "paper", description="who fills orders: `paper` by the live book and trades; `simulated` by the bars, as a "
        "backtest does; `sandbox` the venue's own test network, never real money")
    late_after: Span = Field(
        "1m", description="how long after a bar's close it may be acted on; later ones are seen, and not traded on")
    latency_milliseconds: float = Field(
        50.0, ge=0, le=60_000, description="of the paper broker: how long an order takes to the venue")
    demo: bool = Field(
        False, description="of the sandbox: the venue's demo trading instead of its test network, where it has both")
    dead_man_seconds: float | None = Field(
        None, ge=10, le=3600, description="of the sandbox: after so many seconds without a word of ours the venue "
        "withdraws every order, where it can; never if left out")
    reconcile_every: Span = Field("5m", description="how often the venue is asked what our books should say")
    kill_switch: Place | None = Field(
        None, description="a file whose presence halts trading; if its first line begins with `flatten`, positions are "
        "closed too")
    heartbeat_seconds: float = Field(5.0, gt=0, le=600, description="how often the status file is written")
    metrics_port: int | None = Field(
        None, ge=1024, le=65_535, description="where Prometheus may ask for metrics, on this machine alone; nowhere if "
        "left out")
    notify: tuple[str, ...] = Field(
        (), description="names of environment variables that hold addresses to notify (docs/paper.md); the addresses "
        "themselves are secrets and do not belong here")
    daily_report: Place | None = Field(None, description="a folder for a report each day; none if left out")
    retrain_every: Span | None = Field(None, description="how often `retrain_command` is run; never if left out")
    retrain_command: tuple[str, ...] = Field(
        (), description="a program and its arguments, such as `[\".venv/bin/python\", \"main.py\", \"fetch\", …]`; it "
        "runs beside the session. Models are trained again by their own `retrain`")
    feed: FeedSettings = Field(default_factory=FeedSettings, description="what is asked of the feed")

    @field_validator("notify", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
