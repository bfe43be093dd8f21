"""Keys and values of several rows, laid out as the compiled loops read them, float32 or bfloat16."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from models.compiled.attention import attend
from models.compiled.keeping import keep, turn
from models.compiled.vectors import LANES


class Cache:
    """Room for the tokens of one attention; it does not count them.

    Args:
        size: of a head, even; room: tokens that may come at most; dtype: float32, or bfloat16: rounded when kept.
    """

    def __init__(self, rows: int, heads: int, size: int, room: int, dtype: torch.dtype) -> None:
        self._size = size
        blocks, width = -(-room // LANES), -(-size // LANES) * LANES
        is_narrow = dtype == torch.bfloat16
        keys = torch.empty(rows, heads, blocks, size // 2, *((LANES, 2) if is_narrow else (2, LANES)), dtype=dtype)
        values = torch.zeros(rows, heads, -(-room // 2), *((width, 2) if is_narrow else (2, width)), dtype=dtype)
        if is_narrow:
            self._read = tuple(part.view(torch.uint16).numpy().view(np.uint32)[..., 0] for part in (keys, values))
            self._keys, self._values = keys.transpose(-1, -2), values.transpose(-1, -2)
            self._write: Any = tuple(part.view(torch.uint16).numpy() for part in (self._keys, self._values))
        else:
            self._read = keys.flatten(3, 4).numpy(), values.flatten(2, 3).numpy()
            self._keys, self._values = keys, values
            self._write = keys.numpy(), values.numpy()

    def keys(self, count: int) -> Tensor:
        """Return those of the first tokens, float32 [R, h, count, e]."""
        return self._keys.permute(0, 1, 2, 5, 3, 4).reshape(*self._keys.shape[:2], -1, self._size)[:, :, :count].float()

    def values(self, count: int) -> Tensor:
        """Return those of the first tokens, float32 [R, h, count, e]."""
        return self._values.flatten(2, 3)[:, :, :count, : self._size].float()

    def keep(self, keys_and_values: Tensor, start: int) -> None:
        """Keep those of several tokens, [2, R, h, Q, e], from a place on."""
        keep(keys_and_values.numpy(), *self._write, start)

    def turn(self, parts: Tensor, turns: Tensor, place: int) -> None:
        """Rotate the queries and keys of one token of each row, in place, and keep its keys and values.

        Args:
            parts: [R, 3, h, e]; turns: complex [1, e / 2].
        """
        turn(parts.numpy(), torch.view_as_real(turns).view(-1).numpy(), *self._write, place)

    def attend(self, q: Tensor, used: int, history: Self | None, length: int) -> Tensor:
        """Return what one query of each row sees, [R, h, e] → [R, h, e]: `length` tokens of history, `used` of its own.

        Args:
            history: of N series, of which R / N rows each share one.
        """
        if history is not None and len(q) % len(history._read[0]):
            raise RuntimeError(f"{len(q)} rows over a history of {len(history._read[0])} series; expected a multiple")
        out = torch.empty(q.shape)
        attend(q.numpy(), *(history or self)._read, length, *self._read, used, out.numpy())
        return out
