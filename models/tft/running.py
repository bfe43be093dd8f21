"""An LSTM over windows of different lengths."""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

State = tuple[Tensor, Tensor]


def run_lstm(lstm: nn.LSTM, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Return outputs [B, T, H], zero where padded, and the state after each window's own last step.

    Args:
        x: [B, T, H]; state: hidden and cell, each [layers, B, H]; lengths: int64 [B], 1 or more; None: all T.
    """
    if lengths is None or bool((lengths == x.shape[1]).all()):
        out: tuple[Tensor, State] = lstm(x, state)
        return out
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, last = lstm(packed, state)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    return padded, last
