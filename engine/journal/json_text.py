"""Settings and results as JSON text that every database takes."""

import json
import math
from decimal import Decimal
from typing import Any


def to_json(value: Any) -> str:
    """Return JSON. NaN and the infinities, which JSON lacks, become null; a Decimal its text."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Decimal():
            return str(value)
        case float():
            return value if math.isfinite(value) else None
    return value
