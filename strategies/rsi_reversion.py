"""Buy what fell too fast, with the way out decided before going in."""

from engine import Bar, Param, Strategy


class RsiReversion(Strategy):
    """Buy a sharp fall, risk a fixed share of equity on it, and leave at a stop or at a target.

    When the RSI drops through `oversold`, buy at market. The stop lies `stop_atr` average true ranges below the close,
    the target `reward` times as far above it, and the quantity is such that being stopped costs `risk` of equity. The
    two exits are one bracket: whichever fills cancels the other. One position a symbol at a time, long only.
    """

    period: int = Param(14, ge=2, le=200, help="bars of the RSI and of the average true range")
    oversold: float = Param(30.0, gt=0, lt=50, help="buy when the RSI falls through this")
    stop_atr: float = Param(2.0, gt=0, le=20, help="distance of the stop, in average true ranges")
    reward: float = Param(1.5, gt=0, le=20, help="distance of the target, in distances of the stop")
    risk: float = Param(0.01, gt=0, le=0.1, help="share of equity lost if the stop is hit")
    largest: float = Param(0.9, gt=0, le=1, help="share of the free cash that one position may take")

    def on_start(self) -> None:
        self.warm_up = 8 * self.period  # until then, both lines still feel where the data began
        self.rsi = {symbol: self.indicator("RSI", "close", self.period, symbol=symbol) for symbol in self.symbols}
        self.atr = {symbol: self.indicator("ATR", self.period, symbol=symbol) for symbol in self.symbols}

    def on_bar(self, bar: Bar) -> None:
        symbol = bar.symbol
        rsi = self.rsi[symbol]
        if not rsi[-1] < self.oversold <= rsi[-2] or self.position(symbol) or self.open_orders(symbol):
            return
        distance = self.stop_atr * self.atr[symbol][-1]
        if not 0 < distance < bar.close:  # a market that stood still, or one wilder than its own price
            return
        stop = bar.close - distance
        quantity = min(
            self.quantity_for_risk(symbol, self.risk, stop), self.quantity_for_cash(symbol, self.largest)
        )
        if quantity > 0:
            self.buy(
                symbol,
                quantity,
                stop_loss=stop,
                take_profit=bar.close + self.reward * distance,
                why=f"RSI fell to {rsi[-1]:.1f}",
            )
