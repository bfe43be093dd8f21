"""A strategy that does a little of everything, at random and yet the same whenever it is run again."""

from random import Random

from engine import Bar, Fill, Strategy


class Restless(Strategy):
    """Market orders, limits, brackets, cancels, amendments and targets, drawn from a seed and the bar's time alone."""

    def __init__(self, seed: int, *, size: float, amends: bool = True) -> None:
        super().__init__()
        self.seed = seed
        self.size = size
        self.amends = amends
        self.heard = 0

    def on_bar(self, bar: Bar) -> None:
        draw = Random(f"{self.seed} {bar.close_time} {bar.symbol}")
        for _ in range(draw.randint(1, 2)):
            self._act(bar, draw)

    def _act(self, bar: Bar, draw: Random) -> None:
        orders = self.open_orders(bar.symbol)
        size, price = self.size * draw.randint(1, 5), bar.close
        match draw.choice(("buy", "buy", "sell", "limit", "bracket", "cancel", "amend", "close", "nothing")):
            case "buy":
                self.buy(bar.symbol, size, why="at random")
            case "sell":
                held = float(self.position(bar.symbol))
                if held >= self.size:
                    self.sell(bar.symbol, min(size, held), why="at random")
            case "limit":
                self.buy(bar.symbol, size, limit=round(price * draw.uniform(0.995, 1.002), 2), why="at random")
            case "bracket":
                self.buy(
                    bar.symbol, size, limit=round(price * draw.uniform(0.998, 1.002), 2),
                    stop_loss=round(price * 0.99, 2), take_profit=round(price * 1.01, 2), why="at random",
                )
            case "cancel" if orders:
                self.cancel(draw.choice(orders), why="at random")
            case "amend" if orders and self.amends:
                order = draw.choice(orders)
                if order.limit is not None and order.open_lots > 1:
                    self.amend(order, limit=round(float(order.limit) * draw.uniform(0.998, 1.001), 2))
            case "close":
                for order in orders:
                    self.cancel(order, why="clearing up")

    def on_fill(self, fill: Fill) -> None:
        self.heard += 1
