"""Accounts: the margin terms, holding costs, trading rules and mark prices that settings describe."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from config.data import Survey, expand
from config.settings import AccountSettings, InstrumentSettings, Settings
from engine.bars import HOUR
from engine.carry import CarryTerms, FixedFunding, FundingHistory, FundingSource
from engine.clearing import Clearing
from engine.errors import DataError, SettingsError
from engine.interfaces import MarkPrices
from engine.margin import MarginSchedule, MarginTerms, MarginTier, tiers_from_brackets
from engine.portfolio import Portfolio
from engine.trading_rules import TradingRules
from feeds.funding import funding_of, missing_funding
from feeds.mark_prices import read_marks


def described(settings: Settings, symbol: str) -> InstrumentSettings:
    """Return what settings say of an instrument."""
    known = settings.instruments
    return known.get(symbol) or known.get("default") or InstrumentSettings()


def contract_kind(symbol: str, own: InstrumentSettings, currency: str) -> str:
    """Return the kind of an instrument.

    Raises:
        SettingsError: a perpetual whose name says that it settles in another currency than it is quoted in.
    """
    pair, _, settled = symbol.partition(":")
    quote = own.quote or pair.partition("/")[2] or currency
    settled = settled.partition("-")[0]
    if own.kind == "perpetual" and settled and settled != quote:
        raise SettingsError(
            f"{symbol} settles in {settled} and is quoted in {quote}: inverse contracts are not known; expected a "
            f"linear one, such as {pair}:{quote}"
        )
    return own.kind


def make_margin(settings: Settings, symbols: Sequence[str]) -> MarginTerms | None:
    """Return the terms of the margin account; None for a cash account.

    Raises:
        SettingsError: tiers that cannot be, a file of brackets that cannot be read, or margin terms of an instrument in
            a cash account.
    """
    account = settings.account
    own = {symbol: described(settings, symbol) for symbol in symbols}
    if account.kind == "cash":
        for symbol, one in own.items():
            for name in ("leverage", "maintenance_rate", "margin_tiers", "margin_brackets"):
                if getattr(one, name):
                    raise SettingsError(
                        f'instruments: {symbol} has {name}, which a cash account knows nothing of; set [account] '
                        f'kind = "margin"'
                    )
        return None
    schedules = {
        symbol: _schedule(account, one, symbol)
        for symbol, one in own.items()
        if one.leverage is not None or _has_tiers(one) or account.margin_brackets is not None
    }
    schedule = MarginSchedule(account.leverage) if account.margin_brackets else _schedule(account, account, "account")
    return MarginTerms(account.margin_mode, schedule, schedules, account.liquidation_fee, account.shortfall)


def make_clearing(settings: Settings, portfolio: Portfolio, seen: Survey) -> Clearing | None:
    """Return the venue's side of the accounts; None for a cash account that nothing is charged to.

    Raises:
        SettingsError: settings that contradict each other.
        DataError: funding rates or mark prices that cannot be read, or payments that are missing.
    """
    rules = {symbol: _rules(described(settings, symbol)) for symbol in portfolio.instruments}
    rules = {symbol: one for symbol, one in rules.items() if one.has_any}
    carry = make_carry(settings, portfolio, seen)
    marks = _marks(settings, portfolio)
    if portfolio.is_cash_account and not (rules or carry.has_daily or marks):
        return None
    return Clearing(portfolio, carry, rules, marks)


def make_carry(settings: Settings, portfolio: Portfolio, seen: Survey) -> CarryTerms:
    """Return what holding costs.

    Raises:
        SettingsError: funding of what is no perpetual, or both a fixed rate and files.
        DataError: the files of funding cannot be used, or payments are missing and `data.gap_policy` is "error".
    """
    borrow_rates: dict[str, Decimal] = {}
    for symbol in portfolio.instruments:
        rate = described(settings, symbol).borrow_rate
        if rate is not None:
            borrow_rates[symbol] = rate
    account = settings.account
    return CarryTerms(_funding(settings, portfolio, seen), account.interest_rate, account.borrow_rate, borrow_rates)


def clearing_card(portfolio: Portfolio, clearing: Clearing | None) -> dict[str, Any]:
    """Return what the assumption card says of accounts; nothing for a plain cash account."""
    if clearing is None:
        return {}
    card: dict[str, Any] = {"funding": clearing.carry.funding_card(), "borrow": clearing.carry.borrow_card()}
    if portfolio.margin is not None:
        card["margin"] = portfolio.margin.card()
    contracts = [symbol for symbol, one in portfolio.instruments.items() if one.is_contract]
    if contracts:
        card["mark_price"] = {"kind": "last_close" if clearing.marks is None else "series"}
    if clearing.days:
        card["trading_rules"] = {symbol: days.rules.card() for symbol, days in clearing.days.items()}
    return card


def _schedule(account: AccountSettings, own: AccountSettings | InstrumentSettings, symbol: str) -> MarginSchedule:
    """Return the schedule of an instrument: its own terms, and the account's where it has none."""
    source = own if _has_tiers(own) else account
    leverage = own.leverage if own.leverage is not None else account.leverage
    try:
        return MarginSchedule(leverage, _tiers(source, symbol))
    except SettingsError as fault:
        raise SettingsError(f"{symbol}: {fault}") from None


def _tiers(source: AccountSettings | InstrumentSettings, symbol: str) -> tuple[MarginTier, ...]:
    if source.maintenance_rate is not None:
        return (MarginTier(Decimal(0), source.maintenance_rate),)
    if source.margin_brackets is not None:
        return tiers_from_brackets(_text(source.margin_brackets), symbol, str(source.margin_brackets))
    return tuple(MarginTier(tier.notional, tier.rate, tier.max_leverage) for tier in source.margin_tiers)


def _has_tiers(source: AccountSettings | InstrumentSettings) -> bool:
    return bool(source.maintenance_rate is not None or source.margin_tiers or source.margin_brackets is not None)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path}: cannot be read: {problem}; expected JSON with leverage brackets") from problem


def _funding(settings: Settings, portfolio: Portfolio, seen: Survey) -> dict[str, FundingSource]:
    contracts = [symbol for symbol, one in portfolio.instruments.items() if one.is_contract]
    fixed: dict[str, FundingSource] = {}
    for symbol in portfolio.instruments:
        one = described(settings, symbol)
        if one.funding_rate is None:
            continue
        if symbol not in contracts:
            raise SettingsError(f'instruments: {symbol} has a funding_rate, but is spot; set its kind = "perpetual"')
        fixed[symbol] = FixedFunding(one.funding_rate, one.funding_interval_hours * HOUR)
    if not settings.data.funding:
        return fixed
    if not contracts:
        raise SettingsError('data.funding is given, but no instrument is a perpetual; set kind = "perpetual" for one')
    if fixed:
        raise SettingsError(
            f"data.funding is given, and {', '.join(fixed)} has a funding_rate too; expected one source of funding"
        )
    histories = funding_of(expand(settings.data.funding), contracts)
    if settings.data.gap_policy == "error":
        for symbol, history in histories.items():
            for gap in missing_funding(symbol, history, seen.first_open, seen.last_close):
                raise DataError(f'{gap}; fetch the history again, or set gap_policy = "mark" to go without')
    return dict(histories)


def _rules(one: InstrumentSettings) -> TradingRules:
    return TradingRules(one.settlement_days, one.price_limit, one.timezone)


def _marks(settings: Settings, portfolio: Portfolio) -> MarkPrices | None:
    if not settings.data.mark_prices:
        return None
    contracts = [symbol for symbol, one in portfolio.instruments.items() if one.is_contract]
    if not contracts:
        raise SettingsError('data.mark_prices are given, but no instrument is a perpetual; set kind = "perpetual"')
    return read_marks(expand(settings.data.mark_prices), contracts)


def funding_gaps(clearing: Clearing | None, seen: Survey) -> list[str]:
    """Return where payments of funding are missing within a run, in words."""
    histories = {} if clearing is None else clearing.carry.funding
    return [
        str(gap)
        for symbol, source in histories.items()
        if isinstance(source, FundingHistory)
        for gap in missing_funding(symbol, source, seen.first_open, seen.last_close)
    ]
