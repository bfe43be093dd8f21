"""What a forecast was made of, drawn: how much each input counted, and how much each bar was looked at."""

import numpy as np

from engine.analysis.charts import Figure, named_ticks
from engine.analysis.formatting import minute
from engine.analysis.page_parts import escaped, numbers
from engine.analysis.single_forecast import ForecastView, heaviest

_COLOURS = ("--accent", "--benchmark", "--muted")
"""Of the groups of inputs, in order."""
_TICKS = 4
_ROOM = 1.12
"""Of the axis beyond the longest bar, whose number stands outside."""


def weights_figure(view: ForecastView) -> Figure | None:
    """Draw each input's share, group by group; None of a model that does not explain itself."""
    if view.explanation is None:
        return None
    traces, rows = [], []  # rows: of the page from above, a heading or an input
    for place, (group, shares) in enumerate(view.explanation.weights.items()):
        of = heaviest(shares)
        rows.append(f"<b>{escaped(group)}</b>")
        names = [escaped(name) for name, _ in of]
        # By number: an input may be in several groups, and plotly would give a name one place among all.
        traces.append({
            "type": "bar", "orientation": "h", "name": escaped(group), "y": [len(rows) + row for row in range(len(of))],
            "x": numbers(np.array([share for _, share in of])), "text": [f"{share:.0%}" for _, share in of],
            "textposition": "outside", "cliponaxis": False, "marker": {"color": _COLOURS[place % len(_COLOURS)]},
            "customdata": names, "hovertemplate": "%{customdata}: %{x:.1%}<extra></extra>",
        })
        rows += names
    largest = max((max(of.values(), default=0.0) for of in view.explanation.weights.values()), default=0.0)
    return {
        "data": traces,
        "layout": {
            "height": max(220, 70 + 22 * len(rows)), "showlegend": False, "bargap": 0.25,
            "yaxis": {
                "tickmode": "array", "tickvals": list(range(len(rows))), "ticktext": rows, "showgrid": False,
                "range": [len(rows) - 0.4, -0.6], "zeroline": False,
            },
            "xaxis": {
                "tickformat": ".0%", "title": {"text": "share of what counted in its group"},
                "range": [0, _ROOM * (largest or 1.0)],
            },
        },
    }


def attention_figure(view: ForecastView) -> Figure | None:
    """Draw how much each bar of the window was looked at; None if the model does not say."""
    if view.explanation is None or view.window_times is None or not len(view.explanation.bars):
        return None
    shares = view.explanation.bars
    first = int(np.argmax(shares > 0))  # bars before only warm features up
    times = [minute(int(time)) for time in view.window_times[first:]]
    even = 1 / len(times)
    return {
        "data": [{
            "type": "bar", "x": times, "y": numbers(shares[first:]), "name": "", "marker": {"color": "--accent"},
            "hovertemplate": "%{x}: %{y:.2%}<extra></extra>",
        }],
        "layout": {
            "height": 260, "showlegend": False, "bargap": 0.1,
            "xaxis": {
                **named_ticks(times[::-1], _TICKS), "type": "category", "tickangle": 0, "showgrid": False,
            },
            "yaxis": {"tickformat": ".1%", "title": {"text": "share of attention"}, "rangemode": "tozero"},
            "shapes": [{
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": even, "y1": even,
                "line": {"color": "--muted", "width": 1.2, "dash": "dot"},
            }],
            "annotations": [{
                "xref": "paper", "x": 1, "xshift": 4, "y": even, "text": "all alike", "showarrow": False,
                "xanchor": "left", "font": {"color": "--muted", "size": 11},
            }],
            "margin": {"r": 64},
        },
    }
