"""Settings of a small training that tests make again and again."""

from collections.abc import Sequence


def small_krnn(symbols: Sequence[str], bars: int, seed: int) -> str:
    """Return settings of one epoch of a small KRNN on so many hours of a made-up market."""
    return f"""
[data]
source = "synthetic"
symbols = {list(symbols)}
timeframe = "1h"
bars = {bars}
seed = {seed}
[split]
valid = 2024-01-15
end = 2024-01-20
[train]
epochs = 1
[log]
tensorboard = false
[krnn]
cnn_dim = 4
rnn_dim = 4
"""
