"""Strategy: what an author writes. An author imports one name, `engine`.

A strategy is told of closed bars and answers with requests. It sees nothing later than the bar it is being told of:
indicator lines end there, histories end there, and its orders can only meet prices that come after.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from engine.bars import Bar, Bars, FloatArray, Stream, iso
from engine.errors import OrderError, PluginError
from engine.events import Fill, OrderEvent
from engine.forecasting.handles import ForecastPanel, ModelForecasts
from engine.forecasts import Forecast
from engine.lines import Line
from engine.orders import Order, OrderRequest, OrderType, Side, TimeInForce
from engine.parameters import checked_parameters
from engine.policies import Policy
from engine.slices import Slice

Price = float | Decimal
Quantity = float | Decimal
Cited = Forecast | Sequence[Forecast] | None
"""Forecasts that a decision rests on; None: the last one of each model that was delivered for the symbol."""


class Timer:
    """A point in time that a strategy asked to be told of."""

    __slots__ = ("name", "time")

    def __init__(self, name: str, time: int) -> None:
        self.name = name
        self.time = time


class Context(Protocol):
    """What the engine gives a strategy to look at and to ask for. Every answer is as of the last closed bar."""

    symbols: tuple[str, ...]
    streams: tuple[Stream, ...]

    @property
    def now(self) -> int: ...
    @property
    def largest_exposure(self) -> float: ...
    def line(
        self,
        function: str | Callable[..., Any],
        inputs: tuple[str, ...],
        arguments: tuple[Any, ...],
        options: Mapping[str, Any],
        stream: Stream,
        output: int | str,
    ) -> Line: ...
    def history(self, stream: Stream, field: str, count: int) -> FloatArray: ...
    def price(self, symbol: str) -> float: ...
    def position(self, symbol: str) -> Decimal: ...
    def average_price(self, symbol: str) -> Decimal | None: ...
    def cash(self, currency: str | None) -> Decimal: ...
    def equity(self, currency: str | None) -> Decimal: ...
    def quantity_for_exposure(self, symbol: str, exposure: float) -> float: ...
    def open_orders(self, symbol: str | None) -> Sequence[Order]: ...
    def target(self, symbol: str, exposure: float, why: str) -> None: ...
    def request(self, request: OrderRequest) -> Order: ...
    def cancel(self, order: Order, why: str) -> None: ...
    def amend(
        self, order: Order, quantity: Quantity | None, limit: Price | None, stop: Price | None, why: str
    ) -> None: ...
    def set_timer(self, name: str, at: int | None, every: str | None) -> None: ...
    def forecasts(self, model: str, every: str, symbols: Sequence[str] | None) -> ModelForecasts: ...
    def policy(self, name: str) -> Policy: ...
    def cite(self, forecasts: Cited) -> None: ...


class Strategy:
    """Base class of all strategies. Override the handlers you need; only those overridden are called.

    Parameters are class attributes made with `Param`; they are set on the instance before `on_start`.
    """

    warm_up: int = 0
    """Bars of a symbol to wait for before its first `on_bar`, if that is more than the declared lines need. A class
    attribute, or set in `on_start` where it depends on parameters."""

    parameters: dict[str, Any]
    _context: Context

    def __init__(self, **parameters: Any) -> None:
        """Validate the parameters and set them as attributes.

        Raises:
            SettingsError: unknown name or value out of range.
        """
        self.parameters = checked_parameters(type(self), parameters)
        for name, value in self.parameters.items():
            setattr(self, name, value)
        self._wanted: dict[str, float] = {}

    # ── handlers ────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self) -> None:
        """Declare indicator lines and timers. Called once, before the first bar."""

    def on_bar(self, bar: Bar) -> None:
        """A bar of one symbol closed. Not called for a symbol before all its lines, of every timeframe, have values."""

    def on_slice(self, slice: Slice) -> None:
        """All bars that closed at one instant, as columns over the symbols. Called after the `on_bar`s."""

    def on_forecast(self, forecast: Forecast) -> None:
        """A model's statement about the future became available: after the bars of that instant, in feed order."""

    def on_forecasts(self, panel: ForecastPanel) -> None:
        """All forecasts that a model made at one instant, over its symbols. Called after their `on_forecast`s."""

    def on_fill(self, fill: Fill) -> None:
        """One of our orders was executed. Comes before the bar in which it happened."""

    def on_order(self, event: OrderEvent) -> None:
        """Something else happened to one of our orders."""

    def on_timer(self, timer: Timer) -> None:
        """A time asked for with `set_timer` has come; after the bars of that instant."""

    def on_stop(self) -> None:
        """The last bar has been seen. Requests made here are not taken up."""

    def targets(self, bars: Bars) -> FloatArray:
        """Return the target exposure at every row, float64 [rows] in −1…1; NaN keeps the one before.

        For a strategy of one symbol that needs no per-bar Python. It must be causal: row t may use rows ≤ t only
        (checked by cutting the input short). A strategy that overrides this and no per-bar handler is run by jumping.
        """
        raise NotImplementedError

    # ── asking for orders ───────────────────────────────────────────────────────────────────────────────────────

    def target(
        self, symbol: str, exposure: float, why: str = "", rebalance: bool = False, *, forecast: Cited = None
    ) -> None:
        """Hold `exposure` times the equity in `symbol`, bought or sold with a market order: −1…1, or as far either way
        as the leverage of a margin account.

        Nothing is traded while the same target is repeated, though prices drift; `rebalance=True` trades up or
        down to it again. An unfilled order of the target before is cancelled first.

        Args:
            forecast: what the decision rests on, as for all orders; left out, it is the last forecast of each model
                that was delivered for the symbol.
        Raises:
            OrderError: the exposure is not a number within those bounds.
        """
        try:  # an exception once a symbol costs less than `get` every bar
            if self._wanted[symbol] == exposure and not rebalance:
                return
        except KeyError:
            pass
        if not -1.0 <= exposure <= 1.0:
            limit = self._context.largest_exposure
            if not -limit <= exposure <= limit:
                raise OrderError(f"target for {symbol} is {exposure}; expected {_of_equity(limit)}")
        self._wanted[symbol] = exposure
        if forecast is None:
            self._context.target(symbol, exposure, why)
            return
        with self._citing(forecast):
            self._context.target(symbol, exposure, why)

    def buy(
        self,
        symbol: str,
        quantity: Quantity,
        *,
        limit: Price | None = None,
        stop: Price | None = None,
        trail_fraction: float | None = None,
        trail_amount: Price | None = None,
        stop_loss: Price | None = None,
        take_profit: Price | None = None,
        trail_stop_fraction: float | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        expire_at: int | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        oco_group: str | None = None,
        why: str = "",
        forecast: Cited = None,
    ) -> Order:
        """Ask to buy `quantity` of the base asset; the prices given decide the order type.

        None: market. `limit`: limit. `stop`: stop. Both: stop-limit. `trail_…`: trailing stop. `stop_loss` and
        `take_profit` make it a bracket: they become active when this order fills, and the first to fill cancels the
        other. Orders of one `oco_group` cancel each other likewise.

        Returns:
            The order; it may already be refused (see its `status`, and `on_order`).
        """
        request = OrderRequest(
            symbol,
            Side.BUY,
            quantity,
            _order_type(limit, stop, trail_fraction, trail_amount),
            limit,
            stop,
            trail_fraction,
            trail_amount,
            time_in_force,
            expire_at,
            post_only,
            reduce_only,
            stop_loss,
            take_profit,
            trail_stop_fraction,
            oco_group,
            why,
        )
        return self._requested(request, forecast)

    def sell(
        self,
        symbol: str,
        quantity: Quantity,
        *,
        limit: Price | None = None,
        stop: Price | None = None,
        trail_fraction: float | None = None,
        trail_amount: Price | None = None,
        stop_loss: Price | None = None,
        take_profit: Price | None = None,
        trail_stop_fraction: float | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        expire_at: int | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        oco_group: str | None = None,
        why: str = "",
        forecast: Cited = None,
    ) -> Order:
        """Ask to sell; the mirror of `buy`. Selling more than is held goes short where the account allows it."""
        request = OrderRequest(
            symbol,
            Side.SELL,
            quantity,
            _order_type(limit, stop, trail_fraction, trail_amount),
            limit,
            stop,
            trail_fraction,
            trail_amount,
            time_in_force,
            expire_at,
            post_only,
            reduce_only,
            stop_loss,
            take_profit,
            trail_stop_fraction,
            oco_group,
            why,
        )
        return self._requested(request, forecast)

    def _requested(self, request: OrderRequest, forecast: Cited) -> Order:
        if forecast is None:
            return self._context.request(request)
        with self._citing(forecast):
            return self._context.request(request)

    @contextmanager
    def _citing(self, forecast: Cited) -> Iterator[None]:
        """Let the decision made meanwhile rest on some forecasts."""
        self._context.cite(forecast)
        try:
            yield
        finally:
            self._context.cite(None)

    def close(self, symbol: str, *, why: str = "", forecast: Cited = None) -> Order | None:
        """Ask to leave the position at market; None if there is none. Working orders of the symbol are left alone."""
        held = self.position(symbol)
        if not held:
            return None
        trade = self.sell if held > 0 else self.buy
        self._wanted.pop(symbol, None)
        return trade(symbol, abs(held), reduce_only=True, why=why, forecast=forecast)

    def cancel(self, order: Order, *, why: str = "") -> None:
        """Withdraw an order. One that is already final is left as it is."""
        self._context.cancel(order, why)

    def cancel_all(self, symbol: str | None = None, *, why: str = "") -> None:
        """Withdraw every open order, or those of one symbol."""
        for order in list(self.open_orders(symbol)):
            self._context.cancel(order, why)

    def amend(
        self,
        order: Order,
        *,
        quantity: Quantity | None = None,
        limit: Price | None = None,
        stop: Price | None = None,
        why: str = "",
    ) -> None:
        """Change a working order's total quantity or prices.

        Raises:
            OrderError: the order is final, or the new quantity is not above what has been filled.
        """
        self._context.amend(order, quantity, limit, stop, why)

    # ── sizing: each returns a quantity in base asset, not yet rounded ──────────────────────────────────────────────

    def quantity_for_exposure(self, symbol: str, exposure: float) -> float:
        """Return the signed quantity of a position worth `exposure` × equity at the last close; what is held is not
        taken off."""
        return self._context.quantity_for_exposure(symbol, exposure)

    def quantity_for_cash(self, symbol: str, fraction: float) -> float:
        """Return the quantity that `fraction` of the free cash buys at the last close, before fees."""
        return fraction * float(self._context.cash(None)) / self._context.price(symbol)

    def quantity_for_risk(self, symbol: str, fraction: float, stop: Price) -> float:
        """Return the quantity that loses `fraction` of equity if the last close falls (or rises) to `stop`.

        Raises:
            OrderError: the stop is the price itself, so that no quantity has that risk.
        """
        distance = abs(self._context.price(symbol) - float(stop))
        if distance == 0:
            raise OrderError(f"stop for {symbol} is {stop}, the last close itself; expected a price apart from it")
        return fraction * float(self._context.equity(None)) / distance

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def indicator(
        self,
        function: str | Callable[..., Any],
        *arguments: Any,
        symbol: str | None = None,
        timeframe: str | None = None,
        output: int | str = 0,
        **options: Any,
    ) -> Line:
        """Declare an indicator and return its line: `line[-1]` is its value at the current bar, `line[-2]` the one
        before.

        Args:
            function: a TA-Lib name ("SMA", "RSI", "BBANDS" …) or a causal function of yours that takes arrays and
                returns an array (or a tuple of arrays) of the same length.
            arguments: first the input fields as strings ("close", "high" …; TA-Lib's own default inputs when none is
                given), then the function's parameters in order: `self.indicator("SMA", "close", 20)`.
            symbol, timeframe: which stream; may be left out where there is only one.
            output: which of several outputs, by place or TA-Lib's name.
        Raises:
            PluginError: called outside `on_start`, unknown name, or a function that looks ahead.
        """
        inputs = tuple(argument for argument in arguments if isinstance(argument, str))
        rest = tuple(argument for argument in arguments if not isinstance(argument, str))
        return self._context.line(function, inputs, rest, options, self.stream(symbol, timeframe), output)

    def history(self, field: str, count: int, *, symbol: str | None = None, timeframe: str | None = None) -> FloatArray:
        """Return the last `count` values of a bar field, oldest first, the last one being the current bar's.

        float64 [≤ count], read-only; shorter at the start of the data.
        """
        return self._context.history(self.stream(symbol, timeframe), field, count)

    def stream(self, symbol: str | None = None, timeframe: str | None = None) -> Stream:
        """Return the stream meant; what is left out must be unambiguous.

        Raises:
            PluginError: none fits, or several do.
        """
        fitting = [
            stream
            for stream in self._context.streams
            if (symbol is None or stream.symbol == symbol) and (timeframe is None or stream.timeframe == timeframe)
        ]
        if symbol is not None and timeframe is None and len(fitting) > 1:
            fitting = fitting[:1]  # the feed's first timeframe is the one the strategy runs on
        if len(fitting) == 1:
            return fitting[0]
        wanted = " ".join(part for part in (symbol, timeframe) if part) or "any"
        known = ", ".join(f"{stream.symbol} {stream.timeframe}" for stream in self._context.streams[:8])
        fault = "no stream fits" if not fitting else "several streams fit"
        raise PluginError(f"{type(self).__name__}: {fault} {wanted!r}; name symbol= and timeframe= out of {known}")

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the run, in feed order."""
        return self._context.symbols

    @property
    def symbol(self) -> str:
        """The only symbol of the run.

        Raises:
            PluginError: there are several.
        """
        return self.stream(None, None).symbol if len(self.symbols) > 1 else self.symbols[0]

    @property
    def now(self) -> int:
        """The instant being handled, UTC nanoseconds."""
        return self._context.now

    def price(self, symbol: str) -> float:
        """Return the last close."""
        return self._context.price(symbol)

    def position(self, symbol: str) -> Decimal:
        """Return the signed quantity held."""
        return self._context.position(symbol)

    def average_price(self, symbol: str) -> Decimal | None:
        """Return the average entry price of the position; None without one."""
        return self._context.average_price(symbol)

    def cash(self, currency: str | None = None) -> Decimal:
        """Return the free cash in a currency (the account's first, if none is named)."""
        return self._context.cash(currency)

    def equity(self, currency: str | None = None) -> Decimal:
        """Return cash + market value at the last closes."""
        return self._context.equity(currency)

    def open_orders(self, symbol: str | None = None) -> Sequence[Order]:
        """Return the orders that may still fill, oldest first."""
        return self._context.open_orders(symbol)

    def set_timer(self, name: str, *, at: int | None = None, every: str | None = None) -> None:
        """Ask for `on_timer`: once at a UTC instant, or at every multiple of a timeframe such as "4h"."""
        self._context.set_timer(name, at, every)

    def forecasts(
        self, model: str, *, every: str = "bar", symbols: Sequence[str] | None = None
    ) -> ModelForecasts:
        """Declare that this strategy wants a model's forecasts, and return what gives them.

        Args:
            model: a name under `[models]` in the settings. every: "bar" (of the model's timeframe), a span such as
                "4h" (the first bar that closes at or after each multiple, UTC), or "ask": only when you ask.
            symbols: of which; every symbol with bars of the model's timeframe if left out.
        Raises:
            PluginError: called outside `on_start` or twice, unknown model, or one that does not fit the run's bars.
        """
        return self._context.forecasts(model, every, symbols)

    def policy(self, name: str) -> Policy:
        """Return a policy: a network with a memory that turns a model's outputs into the share of equity to hold.

        Args:
            name: under `[models]` in the settings.
        Raises:
            PluginError: there is none of that name.
        """
        return self._context.policy(name)

    # ── state ───────────────────────────────────────────────────────────────────────────────────────────────────

    def save_state(self) -> dict[str, Any]:
        """Return what must survive a restart, JSON-serialisable. Override together with `load_state`."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `save_state` returned."""


def _order_type(limit: Any, stop: Any, trail_fraction: Any, trail_amount: Any) -> OrderType:
    if trail_fraction is not None or trail_amount is not None:
        return OrderType.TRAILING_STOP
    if stop is not None:
        return OrderType.STOP if limit is None else OrderType.STOP_LIMIT
    return OrderType.MARKET if limit is None else OrderType.LIMIT


def overrides(strategy: Strategy, handler: str) -> bool:
    """Return whether the strategy's class has its own version of a handler."""
    return getattr(type(strategy), handler) is not getattr(Strategy, handler)


def exposures_from(strategy: Strategy, bars: Bars, limit: float = 1.0) -> FloatArray:
    """Return `strategy.targets(bars)`, checked.

    Args:
        limit: the largest exposure that the account allows.
    Raises:
        PluginError: wrong shape, or a value that is neither NaN nor within −limit…limit.
    """
    name = type(strategy).__name__
    exposures = np.asarray(strategy.targets(bars), dtype=np.float64)
    if exposures.shape != (len(bars),):
        raise PluginError(f"{name}.targets returned shape {exposures.shape}; expected one value a row, ({len(bars)},)")
    with np.errstate(invalid="ignore"):
        outside = np.flatnonzero(np.abs(exposures) > limit)
    if len(outside):
        row = int(outside[0])
        raise PluginError(f"{name}.targets is {exposures[row]} at row {row}; expected {_of_equity(limit)}")
    return exposures


def _of_equity(limit: float) -> str:
    return f"a {'fraction' if limit == 1 else 'multiple'} of equity between -{limit:g} and {limit:g}"


def check_targets_causal(strategy: Strategy, bars: Bars, exposures: FloatArray, limit: float = 1.0) -> None:
    """Refuse `targets` that look ahead: with the data cut short, no earlier row may change.

    Only within the first few thousand rows: one that looks ahead does so there too.

    Raises:
        PluginError: naming the first row that depends on later ones.
    """
    span = min(len(bars), 2048)
    for cut in sorted({span // 7, span // 3, span // 2 + 1, span - 1} - {0}):
        if cut >= len(bars):
            continue
        part = exposures_from(strategy, bars[:cut], limit)
        same = (part == exposures[:cut]) | (np.isnan(part) & np.isnan(exposures[:cut]))
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            raise PluginError(
                f"{type(strategy).__name__}.targets looks ahead: row {row} ({iso(int(bars.close_time[row]))}) is "
                f"{part[row]} when the data end at row {cut - 1}, and {exposures[row]} when they go on; "
                "expected a value made of rows up to its own"
            )
