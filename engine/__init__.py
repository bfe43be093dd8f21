"""Barcast's engine: all that the author of a strategy, feed, model or broker imports."""

from engine.bars import Bar, Bars, FloatArray, Stream, Timeframe, iso, utc
from engine.errors import (
    DataError,
    EngineError,
    JournalError,
    OrderError,
    PluginError,
    SettingsError,
    StrategyError,
    VenueError,
    VenueUnavailable,
)
from engine.events import (
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderHeld,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderUnresolved,
    RequestRefused,
)
from engine.forecasting.handles import ForecastPanel, ModelForecasts
from engine.forecasts import Forecast, ForecastKind
from engine.indicators import compute
from engine.instruments import Instrument
from engine.lines import Line
from engine.orders import Order, OrderRequest, OrderStatus, OrderType, Side, TimeInForce
from engine.parameters import Param
from engine.rotation import Rotation
from engine.slices import Slice
from engine.strategy import Strategy, Timer

__all__ = [
    "Bar",
    "Bars",
    "DataError",
    "EngineError",
    "Fill",
    "FloatArray",
    "Forecast",
    "ForecastKind",
    "ForecastPanel",
    "Instrument",
    "JournalError",
    "Line",
    "ModelForecasts",
    "Order",
    "OrderAccepted",
    "OrderAmended",
    "OrderCancelled",
    "OrderError",
    "OrderExpired",
    "OrderHeld",
    "OrderReduced",
    "OrderRejected",
    "OrderRequest",
    "OrderStatus",
    "OrderTriggered",
    "OrderType",
    "OrderUnresolved",
    "Param",
    "PluginError",
    "RequestRefused",
    "Rotation",
    "SettingsError",
    "Side",
    "Slice",
    "Strategy",
    "StrategyError",
    "Stream",
    "TimeInForce",
    "Timeframe",
    "Timer",
    "VenueError",
    "VenueUnavailable",
    "compute",
    "iso",
    "utc",
]
