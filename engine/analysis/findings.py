"""What a careful reader would say about a run after a minute with it: plain sentences, the uncomfortable ones first."""

from typing import NamedTuple

from engine.analysis.formatting import duration, money, number, percent
from engine.analysis.report_data import ReportData

FEW_TRADES = 30
"""Below this many, a win rate of one half is uncertain by more than ± 18 percentage points."""


class Finding(NamedTuple):
    """`level` is "bad" (look before you believe), "note" or "good"."""

    level: str
    text: str


def findings(data: ReportData) -> list[Finding]:
    """Return what stands out, the most serious first; at most one sentence for each matter."""
    found = [finding for ask in _QUESTIONS if (finding := ask(data)) is not None]
    order = {"bad": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def headline(data: ReportData) -> str:
    """Return the result in one sentence: what was made, what holding would have made, and at which risk."""
    get = data.statistics.get
    made = get("total_return")
    if made is None:
        return f"No result: {data.statistics.undefined.get('total_return', 'there is no equity')}."
    text = f"{'Made' if made >= 0 else 'Lost'} {percent(abs(made))} after costs" if get("fills") else "Nothing was traded"
    held = get("benchmark_return")
    if held is not None:
        text += f" while {data.statistics.benchmark or 'the benchmark'} {'made' if held >= 0 else 'lost'} {percent(abs(held))}"
    depth, other = get("max_drawdown"), get("benchmark_max_drawdown")
    if depth:
        text += f"; deepest fall {percent(depth)}" + (f" against {percent(other)}" if other is not None else "")
    return text + "."


def _ruin(data: ReportData) -> Finding | None:
    reason = data.statistics.undefined.get("sharpe", "")
    return Finding("bad", f"{reason[0].upper()}{reason[1:]}.") if "zero or below" in reason or "not a number" in reason else None


def _costs(data: ReportData) -> Finding | None:
    get = data.statistics.get
    gross, costs, net = get("gross_profit"), get("total_costs"), get("net_profit")
    if gross is None or costs is None or net is None or not get("fills"):
        return None
    rates = f"each unit traded earned {number(get('gross_edge'))} bp before costs and paid {number(get('cost_rate'))} bp"
    if gross <= 0:
        return Finding("bad", f"It lost money before costs ({money(gross, data.curve.currency)}); cheaper trading cannot mend that.")
    if net < 0:
        return Finding("bad", f"Costs turned a gross profit of {money(gross, data.curve.currency)} into a loss: {rates}.")
    if costs > 0.5 * gross:
        return Finding("bad", f"Costs took {percent(costs / gross, decimals=0)} of gross profit: {rates}. At twice the costs nothing is left.")
    if costs > 0.2 * gross:
        return Finding("note", f"Costs took {percent(costs / gross, decimals=0)} of gross profit: {rates}.")
    return None


def _few_trades(data: ReportData) -> Finding | None:
    count, fills = data.statistics.get("trades") or 0, data.statistics.get("fills") or 0
    if not fills:
        refused = f"; {data.refused_count:,} orders were refused" if data.refused_count else ""
        made = f"{data.order_count:,} orders were made and none filled" if data.order_count else "No order was made"
        return Finding("bad", f"{made}{refused}.")
    if count and count < FEW_TRADES:
        return Finding("bad", f"{count} finished {'trade is' if count == 1 else 'trades are'} too few to tell skill from luck.")
    return None


def _chance(data: ReportData) -> Finding | None:
    chance, ratio = data.statistics.get("probabilistic_sharpe"), data.statistics.get("sharpe")
    if chance is None or ratio is None or ratio <= 0:
        return None
    said = f"the chance that the true Sharpe ratio is above zero is {percent(chance, decimals=1)}"
    if chance < 0.95:
        return Finding("bad", f"Given {data.statistics.sampling.periods:,} {_periods(data)}, {said}; the usual bar is 95 %.")
    return Finding("good", f"Given {data.statistics.sampling.periods:,} {_periods(data)}, {said}, before counting how many variants were tried.")


def _one_trade(data: ReportData) -> Finding | None:
    share, count = data.statistics.get("top_trade_share"), data.statistics.get("trades") or 0
    if share is None or count < 10 or share < 0.25:
        return None
    return Finding("note", f"One trade made {percent(share, decimals=0)} of all winnings.")


def _behind(data: ReportData) -> Finding | None:
    excess, depth, other = (data.statistics.get(name) for name in ("excess_return", "max_drawdown", "benchmark_max_drawdown"))
    if excess is None or excess >= 0:
        return None
    calmer = depth is not None and other is not None and depth > 0.5 * other
    more = f"Holding would have returned {-100 * excess:,.1f} percentage points more"
    return Finding("note", f"{more}{', at twice the drawdown or worse' if calmer else ''}.")


def _under_water(data: ReportData) -> Finding | None:
    longest = data.statistics.get("max_drawdown_duration")
    if not longest or len(data.curve.time) < 2:
        return None
    span = int(data.curve.time[-1] - data.curve.time[0])
    if longest < 0.5 * span:
        return None
    return Finding("note", f"Equity stayed below an earlier peak for {duration(longest)}, {percent(longest / span, decimals=0)} of the run.")


def _optimistic(data: ReportData) -> Finding | None:
    settings = [warning["setting"] or "a note" for warning in data.card.get("warnings", ()) if warning["level"] == "optimistic"]
    if not settings:
        return None
    count = "One setting is" if len(settings) == 1 else f"{len(settings)} settings are"
    return Finding("bad", f"{count} optimistic: {', '.join(settings)}.")


def _refused(data: ReportData) -> Finding | None:
    if not data.refused_count or not data.statistics.get("fills"):
        return None
    return Finding("note", f"{data.refused_count:,} of {data.order_count:,} orders were refused.")


def _still_open(data: ReportData) -> Finding | None:
    count = data.statistics.get("open_trades") or 0
    if not count:
        return None
    what = "1 position is" if count == 1 else f"{count} positions are"
    return Finding("note", f"{what} still open at the end: in equity at the last close, not in the trade statistics.")


def _short_span(data: ReportData) -> Finding | None:
    reason = data.statistics.undefined.get("cagr", "")
    return Finding("note", "Below 30 days: annualised figures rest on returns per bar, and a yearly return is not given.") if "30 days" in reason else None


def _periods(data: ReportData) -> str:
    return "daily returns" if data.statistics.sampling.frequency == "daily" else "returns per bar"


_QUESTIONS = (
    _ruin, _few_trades, _costs, _optimistic, _chance, _behind, _one_trade, _under_water, _refused, _still_open, _short_span,
)
