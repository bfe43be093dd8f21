"""Live trading: what enters a session, what leaves it, and the loop in between, the same as a backtest's."""
