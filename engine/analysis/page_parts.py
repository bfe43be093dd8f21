"""What pages of HTML are made of, beside their figures."""

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.analysis.charts import PALETTE

PAGE = Path(__file__).parent / "page"
"""Templates, styles and scripts."""


def embedded_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def palette_css() -> str:
    """Return the colours as CSS variables, of the light and of the dark theme."""
    light = "".join(f"{name}:{colours[0]};" for name, colours in PALETTE.items())
    dark = "".join(f"{name}:{colours[1]};" for name, colours in PALETTE.items())
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}color-scheme:dark}}\n:root[data-theme=light]{{color-scheme:light}}\n"
    )


def numbers(values: npt.NDArray[Any]) -> list[float | None]:
    """Return nine significant digits of each, None for what JSON has no word for."""
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values.tolist()]


def escaped(text: str) -> str:
    """Return a text that a user chose as plotly may draw it, which takes a subset of HTML for markup."""
    return escape(text, quote=False)
