"""Keys and values that are kept while tokens are made, and attention to them.

Notation: N series, S samples of each, R = N·S rows, Q new tokens, h heads of size e.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import causal_mask
from models.compiled import is_worth_it
from models.compiled.cache import Cache


class Kept:
    """Keys and values of one attention: as [R, h, T, e], or as the compiled loops read them, where they are fastest.

    Args:
        like: a tensor of their type and device; room: tokens that may come at most, memory for them is taken at once;
            dtype: that they are kept in where a compiled loop widens them as it reads; elsewhere it is that of `like`.
    """

    def __init__(
        self, like: Tensor, rows: int, heads: int, size: int, room: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self._like, self._shape, self._room, self._dtype = like, (rows, heads, size), room, dtype
        self._cache: Cache | None = None
        self._plain: Any = None
        if is_worth_it(like) and size % 2 == 0:
            self._cache = Cache(rows, heads, size, room, dtype)
        else:
            self._plain = like.new_empty(2, rows, heads, room, size)
        self.used = 0
        """Tokens so far, those of a shared history not counted."""
        self._history: Kept | None = None
        """What the samples of a series have in common, N rows; None: each row has all of its own."""

    def both(self) -> tuple[Tensor, Tensor]:
        """Return keys and values, [R, h, used, e] each."""
        if self._cache is not None:
            return self._cache.keys(self.used), self._cache.values(self.used)
        keys, values = self._plain[:, :, :, : self.used]
        return keys, values

    def append(self, keys_and_values: Tensor) -> None:
        """Add those of new tokens, [2, R, h, Q, e].

        Raises:
            RuntimeError: there is no room for them.
        """
        end = self._end(keys_and_values.shape[3])
        if self._cache is not None:
            self._cache.keep(keys_and_values, self.used)
        else:
            self._plain[:, :, :, self.used : end] = keys_and_values
        self.used = end

    def _end(self, count: int) -> int:
        end = self.used + count
        if end > self._room:
            raise RuntimeError(f"{count} tokens after {self.used}: there is room for {self._room}")
        return end

    def shared(self, samples: int, room: int) -> "Kept":
        """Return what `samples` rows of each series go on with, that share all there is."""
        series, heads, size = self._shape
        kept = Kept(self._like, series * samples, heads, size, room, self._dtype)
        if (kept._cache is None) is not (self._cache is None):
            raise RuntimeError("the number of threads changed between a history and its samples; set it before")
        kept._history = self
        return kept

    def take(self, parts: Tensor, turns: Tensor) -> Tensor:
        """Rotate the queries and keys of new tokens, keep keys and values, and return what the queries see, [R·Q, h·e].

        Args:
            parts: [R, Q, 3, h, e]: queries, keys, values; may be written to. turns: complex [Q, e / 2].
        """
        if self._cache is not None and len(turns) == 1:
            end = self._end(1)
            self._cache.turn(parts[:, 0], turns, self.used)
            self.used = end
            return self._seen(self._cache, parts[:, 0, 0])
        pairs = parts[:, :, :2].view(*parts.shape[:2], 2, parts.shape[3], -1, 2)
        torch.view_as_complex(pairs).mul_(turns[:, None, None])
        q, *_ = moved = parts.permute(2, 0, 3, 1, 4)  # [3, R, h, Q, e]
        self.append(moved[1:])
        return self.attend(q)

    def _seen(self, cache: Cache, q: Tensor) -> Tensor:
        """One query of each row, [R, h, e] → [R, h·e]."""
        before = self._history
        out = cache.attend(q, self.used, before._cache if before else None, before.used if before else 0)
        return out.view(len(out), -1)

    def attend(self, q: Tensor) -> Tensor:
        """Return what queries see, [R·Q, h·e]: all of history, and of each row's own tokens those up to their own.

        Args:
            q: [R, h, Q, e], scaled; the keys of the same tokens are kept already. One query sees everything.
        """
        rows, heads, count, size = q.shape
        if self._cache is not None and count == 1:
            return self._seen(self._cache, q[:, :, 0])
        keys, values = self.both()
        if self._history is not None:
            out = _over_both(q, *self._history.both(), keys, values)
        elif count in (1, self.used):
            is_causal = count > 1
            out = nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=is_causal, scale=1.0)
        else:
            mask = causal_mask(count, self.used, q.device)
            out = nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=1.0)
        return out.transpose(1, 2).reshape(rows * count, heads * size)


def _over_both(q: Tensor, old_keys: Tensor, old_values: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend to a history that the samples of a series share, and to each row's own tokens; one softmax over both."""
    rows, heads, count, size = q.shape
    series, length = len(old_keys), old_keys.shape[2]
    samples = rows // series
    # The samples of a series are further queries of its history: [N, h, S·Q, e].
    grouped = q.view(series, samples, heads, count, size).transpose(1, 2).reshape(series, heads, samples * count, size)
    to_history = (grouped @ old_keys.transpose(-1, -2)).view(series, heads, samples, count, length)
    to_history = to_history.transpose(1, 2).reshape(rows, heads, count, length)
    if not keys.shape[2]:
        weights = to_history.softmax(-1)
    else:
        to_own = q @ keys.transpose(-1, -2)
        if count > 1:
            to_own = to_own.masked_fill(~causal_mask(count, keys.shape[2], q.device), float("-inf"))
        weights = torch.cat([to_history, to_own], dim=-1).softmax(-1)
    common = weights[..., :length].reshape(series, samples, heads, count, length).transpose(1, 2)
    out = common.reshape(series, heads, samples * count, length) @ old_values
    out = out.view(series, heads, samples, count, size).transpose(1, 2).reshape(rows, heads, count, size)
    return out + weights[..., length:] @ values if keys.shape[2] else out
