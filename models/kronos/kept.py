"""Keys and values that are kept while tokens are made, and attention to them.

Notation: N series, S samples of each, R = N·S rows, Q new tokens, h heads of size e.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.compiled import attend, is_worth_it, turn


class Kept:
    """Keys and values of one attention: [2, R, h, T, e], keys first.

    Args:
        like: a tensor of their type and device; room: tokens that may come at most, memory for them is taken at once.
    """

    def __init__(self, like: Tensor, rows: int, heads: int, size: int, room: int) -> None:
        self._both = like.new_empty(2, rows, heads, room, size)
        self._array: Any = self._both.numpy() if is_worth_it(like) else None
        self._before: Any = None if self._array is None else self._array[:, :, :, :0]
        self.used = 0
        """Tokens so far, those of a shared history not counted."""
        self.history: Tensor | None = None
        """What the samples of a series have in common, [2, N, h, L, e]; None: each row has all of its own."""

    def append(self, keys_and_values: Tensor) -> None:
        """Add those of new tokens, [2, R, h, Q, e].

        Raises:
            RuntimeError: there is no room for them.
        """
        end = self.used + keys_and_values.shape[3]
        self._both[:, :, :, self.used : end] = keys_and_values
        self.used = end

    def shared(self, samples: int, room: int) -> "Kept":
        """Return what `samples` rows of each series go on with, that share all there is."""
        _, series, heads, _, size = self._both.shape
        kept = Kept(self._both, series * samples, heads, size, room)
        kept.history = self._both[:, :, :, : self.used]
        if kept._array is not None:
            kept._before = kept.history.numpy()
        return kept

    def take(self, parts: Tensor, turns: Tensor) -> Tensor:
        """Rotate the queries and keys of new tokens, keep keys and values, and return what the queries see, [R·Q, h·e].

        Args:
            parts: [R, Q, 3, h, e]: queries, keys, values; may be written to. turns: complex [Q, e / 2].
        """
        if self._array is not None and len(turns) == 1:
            turn(parts[:, 0].numpy(), torch.view_as_real(turns).view(-1).numpy(), self._array, self.used)
            self.used += 1
            return self._seen(parts[:, 0, 0])
        pairs = parts[:, :, :2].view(*parts.shape[:2], 2, parts.shape[3], -1, 2)
        torch.view_as_complex(pairs).mul_(turns[:, None, None])
        q, *_ = moved = parts.permute(2, 0, 3, 1, 4)  # [3, R, h, Q, e]
        self.append(moved[1:])
        return self.attend(q)

    def _seen(self, q: Tensor) -> Tensor:
        """One query of each row, [R, h, e] → [R, h·e]."""
        out = torch.empty(q.shape)
        attend(q.numpy(), self._before, self._array, self.used, out.numpy())
        return out.view(len(out), -1)

    def attend(self, q: Tensor) -> Tensor:
        """Return what queries see, [R·Q, h·e]: all of history, and of each row's own tokens those up to their own.

        Args:
            q: [R, h, Q, e], scaled; the keys of the same tokens are kept already. One query sees everything.
        """
        rows, heads, count, size = q.shape
        if self._array is not None and count == 1:
            return self._seen(q[:, :, 0])
        keys, values = self._both[0, :, :, : self.used], self._both[1, :, :, : self.used]
        if self.history is not None:
            out = _over_both(q, self.history, keys, values)
        elif count in (1, self.used):
            is_causal = count > 1
            out = nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=is_causal, scale=1.0)
        else:
            mask = torch.ones(count, self.used, dtype=torch.bool, device=q.device).tril(self.used - count)
            out = nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=1.0)
        return out.transpose(1, 2).reshape(rows * count, heads * size)


def _over_both(q: Tensor, history: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend to a history that the samples of a series share, and to each row's own tokens; one softmax over both."""
    rows, heads, count, size = q.shape
    series, length = history.shape[1], history.shape[3]
    samples = rows // series
    # The samples of a series are further queries of its history: [N, h, S·Q, e].
    grouped = q.view(series, samples, heads, count, size).transpose(1, 2).reshape(series, heads, samples * count, size)
    to_history = (grouped @ history[0].transpose(-1, -2)).view(series, heads, samples, count, length)
    to_history = to_history.transpose(1, 2).reshape(rows, heads, count, length)
    if not keys.shape[2]:
        weights = to_history.softmax(-1)
    else:
        to_own = q @ keys.transpose(-1, -2)
        if count > 1:
            later = torch.ones(count, keys.shape[2], dtype=torch.bool, device=q.device).triu(keys.shape[2] - count + 1)
            to_own = to_own.masked_fill(later, float("-inf"))
        weights = torch.cat([to_history, to_own], dim=-1).softmax(-1)
    common = weights[..., :length].reshape(series, samples, heads, count, length).transpose(1, 2)
    out = common.reshape(series, heads, samples * count, length) @ history[1]
    out = out.view(series, heads, samples, count, size).transpose(1, 2).reshape(rows, heads, count, size)
    return out + weights[..., length:] @ values if keys.shape[2] else out
