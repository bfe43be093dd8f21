"""What a careful reader would say about a run after a minute with it: plain sentences, the uncomfortable ones first."""

from typing import NamedTuple

from engine.analysis.forecast_view import halves, is_divided
from engine.analysis.formatting import duration, money, number, percent
from engine.analysis.report_data import ReportData
from engine.bars import iso

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
    made, held = get("total_return"), get("benchmark_return")
    depth, other = get("max_drawdown"), get("benchmark_max_drawdown")
    if made is None:
        return f"No result: {data.statistics.undefined.get('total_return', 'there is no equity')}."
    if is_divided(data.forecasts):
        return _divided_headline(data)
    text = f"{'Made' if made >= 0 else 'Lost'} {percent(abs(made))} after costs"
    if not get("fills"):
        text = "Nothing was traded"
    if held is not None:
        name = data.statistics.benchmark or "the benchmark"
        text += f" while {name} {'made' if held >= 0 else 'lost'} {percent(abs(held))}"
    if depth:
        text += f"; deepest fall {percent(depth)}"
        text += f" against {percent(other)}" if other is not None else ""
    return text + "."


def _divided_headline(data: ReportData) -> str:
    """Return what was made while models may have seen the data, and what after: never both together."""
    seen, unseen = halves(data.forecasts, "total_return") or (None, None)
    depth = (halves(data.forecasts, "max_drawdown") or (None, None))[1]
    since = iso(data.forecasts["clean_from"]).partition("T")[0]
    text = f"From {since} on, which no model had seen, {_made(unseen)} after costs"
    text += f" with a deepest fall of {percent(depth)}" if depth else ""
    return f"{text}; before, which they may have seen, {_made(seen)}."


def _made(value: float | None) -> str:
    return f"{'made' if value > 0 else 'lost'} {percent(abs(value))}" if value else "made nothing"


def _contaminated(data: ReportData) -> Finding | None:
    if not data.forecasts.get("contaminated"):
        return None
    if is_divided(data.forecasts):
        return None  # the headline has said it
    return Finding("bad", "Contaminated: its models may have seen all of this time in training, so it proves nothing.")


def _ruin(data: ReportData) -> Finding | None:
    reason = data.statistics.undefined.get("sharpe", "")
    if "zero or below" in reason or "not a number" in reason:
        return Finding("bad", f"{reason[0].upper()}{reason[1:]}.")
    return None


def _costs(data: ReportData) -> Finding | None:
    get, currency = data.statistics.get, data.curve.currency
    gross, costs, net = get("gross_profit"), get("total_costs"), get("net_profit")
    if gross is None or costs is None or net is None or not get("fills"):
        return None
    earned, paid = number(get("gross_edge")), number(get("cost_rate"))
    rates = f"each unit traded earned {earned} bp before costs and paid {paid} bp"
    if gross <= 0:
        return Finding("bad", f"It lost money before costs ({money(gross, currency)}): cheaper trading cannot mend it.")
    if net < 0:
        return Finding("bad", f"Costs turned a gross profit of {money(gross, currency)} into a loss: {rates}.")
    text = f"Costs took {percent(costs / gross, decimals=0)} of gross profit: {rates}."
    if costs > 0.5 * gross:
        return Finding("bad", f"{text} At twice the costs nothing is left.")
    return Finding("note", text) if costs > 0.2 * gross else None


def _without_volume(data: ReportData) -> str:
    """Return what to do about bars of which no share can be traded, as a sentence; empty if that is not the reason."""
    is_capped = data.card.get("switches", {}).get("volume_cap") is not None
    if data.bars is None or data.bars.volume.any() or not is_capped:
        return ""
    return (
        " The bars have no volume, and orders fill from a share of it:"
        ' fills.volume_cap = "none" fills them whole, whatever was traded.'
    )


def _few_trades(data: ReportData) -> Finding | None:
    count, fills = data.statistics.get("trades") or 0, data.statistics.get("fills") or 0
    if not fills:
        refused = f"; {data.refused_count:,} were refused{_by_rule(data)}" if data.refused_count else ""
        made = f"{data.order_count:,} orders were made and none filled" if data.order_count else "No order was made"
        return Finding("bad", f"{made}{refused}.{_without_volume(data) if data.order_count else ''}")
    if count and count < FEW_TRADES:
        many = "trade is" if count == 1 else "trades are"
        return Finding("bad", f"{count} finished {many} too few to tell skill from luck.")
    return None


def _chance(data: ReportData) -> Finding | None:
    how = data.statistics.sampling
    chance, ratio, periods = data.statistics.get("probabilistic_sharpe"), data.statistics.get("sharpe"), how.periods
    where = ""
    if is_divided(data.forecasts):
        unseen = data.forecasts["after"]
        chance, ratio, periods = unseen.get("probabilistic_sharpe"), unseen.get("sharpe"), unseen.get("periods", 0)
        where = " that no model had seen"
    if chance is None or ratio is None or ratio <= 0:
        return None
    returns = "daily returns" if how.frequency == "daily" else "returns per bar"
    likely = percent(chance, decimals=1)
    text = f"Given {periods:,} {returns}{where}, the chance that the true Sharpe ratio is above zero is {likely}"
    if chance < 0.95:
        return Finding("bad", f"{text}; the usual bar is 95 %.")
    return Finding("good", f"{text}, before counting how many variants were tried.")


def _one_trade(data: ReportData) -> Finding | None:
    share, count = data.statistics.get("top_trade_share"), data.statistics.get("trades") or 0
    if share is None or count < 10 or share < 0.25:
        return None
    return Finding("note", f"One trade made {percent(share, decimals=0)} of all winnings.")


def _behind(data: ReportData) -> Finding | None:
    get = data.statistics.get
    excess, depth, other = get("excess_return"), get("max_drawdown"), get("benchmark_max_drawdown")
    if excess is None or excess >= 0 or is_divided(data.forecasts):
        return None
    wilder = depth is not None and other is not None and other < 2 * depth
    more = f"Holding would have returned {-100 * excess:,.1f} percentage points more"
    return Finding("note", f"{more}{', at more than twice the drawdown' if wilder else ''}.")


def _under_water(data: ReportData) -> Finding | None:
    longest = data.statistics.get("max_drawdown_duration")
    if not longest or len(data.curve.time) < 2 or is_divided(data.forecasts):
        return None
    share = longest / int(data.curve.time[-1] - data.curve.time[0])
    if share < 0.5:
        return None
    part = percent(share, decimals=0)
    return Finding("note", f"Equity stayed below an earlier peak for {duration(longest)}, {part} of the run.")


def _optimistic(data: ReportData) -> Finding | None:
    warnings = data.card.get("warnings", ())
    settings = [warning["setting"] or "a note" for warning in warnings if warning["level"] == "optimistic"]
    if not settings:
        return None
    count = "One setting is" if len(settings) == 1 else f"{len(settings)} settings are"
    return Finding("bad", f"{count} optimistic: {', '.join(settings)}.")


def _bounds(data: ReportData) -> Finding | None:
    """Say so if what bars do not tell decides whether there was a profit, or is most of it."""
    worst, made = data.bounds.get("pessimistic") or {}, data.statistics.get("net_profit")
    lowest = worst.get("net_profit")
    if made is None or lowest is None or made <= 0 or lowest > 0.5 * made:
        return None
    count = int(data.bounds.get("ambiguous") or 0)
    what = f"it would have lost {money(-lowest)}" if lowest < 0 else f"only {money(lowest)} of it is certain"
    return Finding("bad", f"Its profit hangs on {count:,} trades that bars do not decide: at their worst {what}.")


def _refused(data: ReportData) -> Finding | None:
    if not data.refused_count or not data.statistics.get("fills"):
        return None
    return Finding("note", f"{data.refused_count:,} of {data.order_count:,} orders were refused{_by_rule(data)}.")


def _by_rule(data: ReportData) -> str:
    """Return " (max_position 12, venue 3)", the largest first; nothing where the rules are not known."""
    counts = sorted(data.refused_by.items(), key=lambda item: (-item[1], item[0]))
    return f" ({', '.join(f'{rule} {count:,}' for rule, count in counts)})" if counts else ""


def _halted(data: ReportData) -> Finding | None:
    if not data.halts:
        return None
    times = "once" if data.halts == 1 else f"{data.halts:,} times"
    return Finding("note", f"The risk gate halted trading {times}: what is reported is partly the gate's doing.")


def _still_open(data: ReportData) -> Finding | None:
    count = data.statistics.get("open_trades") or 0
    if not count:
        return None
    what = "1 position is" if count == 1 else f"{count} positions are"
    return Finding("note", f"{what} still open at the end: in equity at the last close, not in the trade statistics.")


def _short_span(data: ReportData) -> Finding | None:
    if "30 days" not in data.statistics.undefined.get("cagr", ""):
        return None
    return Finding("note", "Below 30 days: annualised figures rest on returns per bar; a yearly return is not given.")


_QUESTIONS = (
    _contaminated, _ruin, _few_trades, _costs, _optimistic, _bounds, _chance, _behind, _one_trade, _under_water,
    _refused, _halted, _still_open, _short_span,
)
