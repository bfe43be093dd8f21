"""What every statistic means: its label, unit and one-line definition, as the report prints them."""

from typing import NamedTuple


class Definition(NamedTuple):
    """What a statistic is called, its unit, where it is listed, and what it means in one line.

    Units: percent (a fraction), money (the curve's currency), ratio, count, bars, duration (ns), basis_points.
    """

    label: str
    unit: str
    group: str
    text: str


DEFINITIONS: dict[str, Definition] = {
    # Return
    "start_equity": Definition("Start equity", "money", "Return", "Equity at the first close."),
    "final_equity": Definition("Final equity", "money", "Return", "Cash + market value at the last close."),
    "net_profit": Definition("Net profit", "money", "Return", "Final equity - start equity."),
    "total_return": Definition("Total return", "percent", "Return", "Final equity ÷ start equity - 1."),
    "cagr": Definition(
        "Annual return", "percent", "Return",
        "(1 + total return) ^ (periods per year ÷ periods) - 1. Not given below 30 days.",
    ),
    "best_period": Definition("Best period", "percent", "Return", "The largest return of one period."),
    "worst_period": Definition("Worst period", "percent", "Return", "The smallest return of one period."),
    "positive_periods": Definition(
        "Winning periods", "percent", "Return",
        "Periods with a return above 0 ÷ periods with a return other than 0.",
    ),
    "exposure_time": Definition(
        "Time in the market", "percent", "Return",
        "Closes at which any position was held ÷ all closes.",
    ),
    "average_exposure": Definition(
        "Average exposure", "percent", "Return",
        "Mean of |net notional ÷ equity| over all closes, flat ones included.",
    ),
    # Risk
    "volatility": Definition(
        "Volatility", "percent", "Risk",
        "Standard deviation of returns (n - 1) × √periods per year.",
    ),
    "sharpe": Definition(
        "Sharpe ratio", "ratio", "Risk",
        "Mean return ÷ standard deviation (n - 1) × √periods per year; risk-free rate 0.",
    ),
    "probabilistic_sharpe": Definition(
        "Chance that Sharpe > 0", "percent", "Risk",
        "Probability that the true Sharpe ratio is above 0, given length, skew and kurtosis (Bailey & López de "
        "Prado 2012). One run; not corrected for how many were tried.",
    ),
    "sortino": Definition("Sortino ratio", "ratio", "Risk", "Mean return × periods per year ÷ downside risk."),
    "calmar": Definition("Calmar ratio", "ratio", "Risk", "Annual return ÷ |max drawdown|."),
    "omega": Definition("Omega ratio", "ratio", "Risk", "Sum of returns above 0 ÷ |sum of returns below 0|."),
    "max_drawdown": Definition(
        "Max drawdown", "percent", "Risk",
        "Deepest fall of equity from its running peak, at every close; ≤ 0.",
    ),
    "max_drawdown_duration": Definition(
        "Longest drawdown", "duration", "Risk",
        "Longest time from a peak until equity was back at it, or until the end.",
    ),
    "average_drawdown": Definition(
        "Average drawdown", "percent", "Risk",
        "Mean fall from the running peak over all closes; ≤ 0.",
    ),
    "ulcer_index": Definition(
        "Ulcer index", "percent", "Risk",
        "Root mean square of the fall from the running peak over all closes.",
    ),
    "recovery_factor": Definition("Recovery factor", "ratio", "Risk", "Total return ÷ |max drawdown|."),
    "downside_risk": Definition(
        "Downside risk", "percent", "Risk",
        "Root mean square of returns, those above 0 counted as 0, × √periods per year.",
    ),
    "value_at_risk": Definition(
        "Value at risk, 5 %", "percent", "Risk",
        "The 5th percentile of period returns, as they happened (no normal law).",
    ),
    "conditional_value_at_risk": Definition(
        "Expected shortfall, 5 %", "percent", "Risk",
        "Mean of the worst 5 % of period returns.",
    ),
    "tail_ratio": Definition("Tail ratio", "ratio", "Risk", "|95th percentile of returns| ÷ |5th percentile|."),
    "skew": Definition(
        "Skew", "ratio", "Risk",
        "Third standardised moment of returns, bias-corrected; below 0 the left tail is the longer.",
    ),
    "kurtosis": Definition(
        "Excess kurtosis", "ratio", "Risk",
        "Fourth standardised moment of returns - 3, bias-corrected; 0 for a normal law.",
    ),
    # Benchmark
    "benchmark_return": Definition(
        "Benchmark return", "percent", "Benchmark",
        "Buy and hold over the same span without costs: one symbol, or all in equal parts from their first close.",
    ),
    "excess_return": Definition("Excess return", "percent", "Benchmark", "Total return - benchmark return."),
    "benchmark_max_drawdown": Definition(
        "Benchmark max drawdown", "percent", "Benchmark",
        "Deepest fall of the benchmark from its running peak; ≤ 0.",
    ),
    "benchmark_sharpe": Definition(
        "Benchmark Sharpe", "ratio", "Benchmark",
        "The Sharpe ratio of the benchmark over the same periods.",
    ),
    "beta": Definition(
        "Beta", "ratio", "Benchmark",
        "Covariance of returns with the benchmark's ÷ variance of the benchmark's.",
    ),
    "alpha": Definition(
        "Alpha", "percent", "Benchmark",
        "(1 + mean of (return - beta × benchmark return)) ^ periods per year - 1. Not given below 30 days.",
    ),
    "correlation": Definition(
        "Correlation", "ratio", "Benchmark",
        "Pearson correlation of returns with the benchmark's.",
    ),
    "information_ratio": Definition(
        "Information ratio", "ratio", "Benchmark",
        "Mean of (return - benchmark return) ÷ its standard deviation (n - 1), per period, not annualised.",
    ),
    "up_capture": Definition(
        "Up capture", "ratio", "Benchmark",
        "Annual return ÷ the benchmark's, over the periods in which the benchmark rose.",
    ),
    "down_capture": Definition(
        "Down capture", "ratio", "Benchmark",
        "Annual return ÷ the benchmark's, over the periods in which the benchmark fell.",
    ),
    # Trades
    "trades": Definition(
        "Trades", "count", "Trades",
        "Round trips from flat to flat that were finished; all trade statistics are over these.",
    ),
    "open_trades": Definition(
        "Open trades", "count", "Trades",
        "Positions still held at the end; in equity, not in trade statistics.",
    ),
    "long_trades": Definition("Long trades", "percent", "Trades", "Trades that were entered by buying ÷ trades."),
    "win_rate": Definition("Win rate", "percent", "Trades", "Trades with a net profit above 0 ÷ trades."),
    "profit_factor": Definition("Profit factor", "ratio", "Trades", "Sum of net profits ÷ |sum of net losses|."),
    "expectancy": Definition("Expectancy", "money", "Trades", "Mean net profit per trade."),
    "average_trade": Definition("Average trade", "percent", "Trades", "Mean of net profit ÷ entry notional."),
    "median_trade": Definition("Median trade", "percent", "Trades", "Median of net profit ÷ entry notional."),
    "best_trade": Definition("Best trade", "percent", "Trades", "Largest net profit ÷ entry notional."),
    "worst_trade": Definition("Worst trade", "percent", "Trades", "Smallest net profit ÷ entry notional."),
    "average_win": Definition("Average win", "money", "Trades", "Mean net profit of the winning trades."),
    "average_loss": Definition("Average loss", "money", "Trades", "Mean net profit of the losing trades; below 0."),
    "payoff_ratio": Definition("Payoff ratio", "ratio", "Trades", "Average win ÷ |average loss|."),
    "longest_losing_streak": Definition(
        "Longest losing streak", "count", "Trades",
        "Most trades in a row, by exit, without a net profit.",
    ),
    "average_duration": Definition(
        "Average time held", "duration", "Trades",
        "Mean time from the first fill of a trade to its last.",
    ),
    "average_bars_held": Definition(
        "Average bars held", "bars", "Trades",
        "Mean number of closes at which a trade was held.",
    ),
    "sqn": Definition(
        "System quality number", "ratio", "Trades",
        "√trades × mean net profit ÷ its standard deviation (n - 1) (Van Tharp).",
    ),
    "top_trade_share": Definition(
        "Best trade's share", "percent", "Trades",
        "Net profit of the best trade ÷ sum of the winning trades'.",
    ),
    # Costs
    "fills": Definition("Fills", "count", "Costs", "Executions."),
    "traded_notional": Definition("Traded notional", "money", "Costs", "Sum of price × quantity over all fills."),
    "turnover": Definition(
        "Turnover per year", "ratio", "Costs",
        "Traded notional ÷ mean equity ÷ years (of 365 days).",
    ),
    "gross_profit": Definition(
        "Gross profit", "money", "Costs",
        "Net profit + all costs: what the same fills would have made at their reference prices.",
    ),
    "fees": Definition("Fees", "money", "Costs", "What the venue charged; rebates count below 0."),
    "spread_cost": Definition(
        "Spread", "money", "Costs",
        "Half the spread, for fills that took liquidity, × quantity.",
    ),
    "slippage_cost": Definition(
        "Slippage", "money", "Costs",
        "The slippage model's part of fill price - reference price, × quantity.",
    ),
    "impact_cost": Definition(
        "Impact", "money", "Costs",
        "The impact model's part of fill price - reference price, × quantity.",
    ),
    "holding_cost": Definition(
        "Funding and borrow", "money", "Costs",
        "Funding, interest, borrow and liquidation fees paid for holding positions; received counts below 0.",
    ),
    "total_costs": Definition("All costs", "money", "Costs", "Fees + spread + slippage + impact + funding and borrow."),
    "costs_of_gross": Definition(
        "Costs ÷ gross profit", "percent", "Costs",
        "All costs ÷ gross profit; only where gross profit is above 0.",
    ),
    "gross_edge": Definition("Gross edge", "basis_points", "Costs", "Gross profit ÷ traded notional."),
    "cost_rate": Definition(
        "Cost rate", "basis_points", "Costs",
        "All costs ÷ traded notional. The strategy earns only while its gross edge is above this.",
    ),
}

GROUPS = tuple(dict.fromkeys(definition.group for definition in DEFINITIONS.values()))
