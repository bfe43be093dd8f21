"""An evaluation for people: tables on the terminal, a picture, and a page that holds both."""

import base64
import html
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from config.evaluation import Evaluation, Figures, figure_names
from engine.analysis.formatting import NOTHING

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}td,th{padding:.25em .7em;text-align:right}
td:first-child,th:first-child{text-align:left}th{border-bottom:2px solid #888}tr:nth-child(even){background:#f4f4f6}
img{max-width:100%}.warn{background:#fff3cd;padding:.6em 1em;border-left:4px solid #d90}"""

TRADED = {
    "total_return": "return", "sharpe": "Sharpe, yearly", "sharpe_low": "its 95 % interval from",
    "sharpe_high": "to", "p_no_edge": "chance of this without an edge", "max_drawdown": "deepest fall",
    "turnover": "turnover a year", "average_exposure": "mean exposure", "fills": "fills", "total_costs": "costs",
    "benchmark_return": "buy and hold: return", "benchmark_sharpe": "buy and hold: Sharpe",
    "benchmark_max_drawdown": "buy and hold: deepest fall",
}


def figure(value: float | None) -> str:
    """Return a number as it is shown."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 or (value == int(value) and value) else f"{value:.4g}"


def figure_rows(contenders: Figures) -> Iterator[tuple[str, ...]]:
    """Yield a row for each figure, in the order of contenders."""
    for name in figure_names(contenders):
        yield (name, *(figure(figures.get(name)) for figures in contenders.values()))


def traded_rows(made: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what came of trading."""
    for name, words in TRADED.items():
        yield words, figure(made.traded.get(name))


def picture(made: Evaluation) -> bytes:
    """Return equity over time and rank IC by month, as PNG."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    drawn, (above, below) = plt.subplots(2, 1, figsize=(10, 7), constrained_layout=True)
    times = [datetime.fromtimestamp(time / 1e9, UTC) for time in made.curve["time"]]
    above.plot(times, made.curve["equity"])
    above.set_title(f"{made.model}: equity after costs, {made.traded['currency']}")
    above.grid(alpha=0.3)
    months = {month: value for month, value in made.by_month.items() if value is not None}
    below.bar(list(months), list(months.values()))
    below.axhline(0, color="black", linewidth=0.8)
    below.set_title("rank IC by month")
    below.tick_params(axis="x", rotation=45)
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=110)
    plt.close(drawn)
    return buffer.getvalue()


def page(made: Evaluation, png: bytes) -> str:
    """Return the page, whole in itself."""
    warning = ""
    if made.is_contaminated:
        warning = "<p class=warn>Contaminated: decisions lie within what the model was trained on.</p>"
    left_out = "".join(f"<p>{html.escape(f'{name}: {why}')}</p>" for name, why in made.left_out.items())
    targets = "".join(
        f"<h3>{html.escape(name)}</h3>{_table(('', *of), figure_rows(of))}" for name, of in made.targets.items()
    )
    told = {
        "artefact": made.artefact, "kind": made.kind, "decisions": f"{made.start} to {made.end}, every {made.every}",
        "horizon": f"{made.horizon} bars", "symbols": f"{len(made.symbols)}: {', '.join(made.symbols[:12])}",
    }
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(made.model)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(made.model)}, judged on bars it has not seen</h1>{warning}"
        f"{_table(('', ''), told.items())}"
        f"<h2>Forecasts</h2>{_table(('', *made.contenders), figure_rows(made.contenders))}"
        f"{left_out}{targets}<h2>Traded, after costs</h2>{_table(('', ''), traded_rows(made))}"
        f"{_interval(made.rank_ic)}"
        f'<img alt="equity and rank IC" src="data:image/png;base64,{base64.b64encode(png).decode()}"></html>\n'
    )


def _interval(of: Mapping[str, float | None]) -> str:
    if of["value"] is None:
        return ""
    ends = f"{figure(of['low'])} to {figure(of['high'])}"
    return f"<p>Mean rank IC {figure(of['value'])}, 95 % interval {ends}, p {figure(of['p'])}</p>"


def _table(headings: tuple[str, ...], rows: Any) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
