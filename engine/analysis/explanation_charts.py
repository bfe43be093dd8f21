"""What a forecast was made of, drawn: how much each input counted, and how much each bar was looked at."""

import numpy as np

from engine.analysis.charts import Figure
from engine.analysis.page_parts import escaped, numbers
from engine.analysis.single_forecast import ForecastView, heaviest
from engine.bars import iso

_COLOURS = ("--accent", "--benchmark", "--muted")
"""Of the groups of inputs, in order."""
_TICKS = 4


def weights_figure(view: ForecastView) -> Figure | None:
    """Draw each input's share, group by group; None of a model that does not explain itself."""
    if view.explanation is None:
        return None
    rows = heaviest(view.explanation)
    traces = []
    for place, group in enumerate(view.explanation.weights):
        of = [(name, share) for one, name, share in rows if one == group]
        traces.append({
            "type": "bar", "orientation": "h", "name": escaped(group),
            "y": [[escaped(group)] * len(of), [escaped(name) for name, _ in of]],
            "x": numbers(np.array([share for _, share in of])), "text": [f"{share:.0%}" for _, share in of],
            "textposition": "auto", "marker": {"color": _COLOURS[place % len(_COLOURS)]},
            "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
        })
    return {
        "data": traces,
        "layout": {
            "height": max(220, 70 + 24 * len(rows)), "showlegend": False, "bargap": 0.25,
            "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
            "xaxis": {
                "tickformat": ".0%", "title": {"text": "share of what counted in its group"}, "rangemode": "tozero",
            },
        },
    }


def attention_figure(view: ForecastView) -> Figure | None:
    """Draw how much each bar of the window was looked at; None if the model does not say."""
    if view.explanation is None or view.window_times is None or not len(view.explanation.bars):
        return None
    shares = view.explanation.bars
    first = int(np.argmax(shares > 0))  # bars before only warm features up
    times = [iso(int(time)).replace("T", " ").removesuffix("Z") for time in view.window_times[first:]]
    every = max(1, -(-len(times) // _TICKS))
    shown = times[::-1][::every][::-1]
    even = 1 / len(times)
    return {
        "data": [{
            "type": "bar", "x": times, "y": numbers(shares[first:]), "name": "", "marker": {"color": "--accent"},
            "hovertemplate": "%{x}: %{y:.2%}<extra></extra>",
        }],
        "layout": {
            "height": 260, "showlegend": False, "bargap": 0.1,
            "xaxis": {
                "type": "category", "tickmode": "array", "tickvals": shown, "tickangle": 0, "showgrid": False,
                "ticktext": [one.replace(" ", "<br>") for one in shown],
            },
            "yaxis": {"tickformat": ".1%", "title": {"text": "share of attention"}, "rangemode": "tozero"},
            "shapes": [{
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": even, "y1": even,
                "line": {"color": "--muted", "width": 1.2, "dash": "dot"},
            }],
            "annotations": [{
                "xref": "paper", "x": 0, "y": even, "text": "all alike", "showarrow": False, "xanchor": "left",
                "yanchor": "bottom", "font": {"color": "--muted", "size": 11},
            }],
        },
    }
