"""The portfolio: accounts and positions together. They change only by applying facts, and balance to the last unit.

Bar-by-bar valuation is nobody's job here: equity is computed when asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

from engine.conversion import Conversion
from engine.errors import SettingsError
from engine.events import Fill
from engine.instruments import Instrument, currency_unit
from engine.margin import MarginTerms
from engine.positions import Account, ContractPosition, FinancedPosition, Position

__all__ = ["Account", "Portfolio", "Position"]


class Portfolio:
    """Accounts and positions, valued together.

    Args:
        cash: the opening balance of each currency; the first named is the one that is reported in.
        instruments: everything that may be traded.
        allow_short: whether selling more than is held opens a short position; contracts may always be sold.
        margin: the terms of a margin account; None for a cash account, which has no contracts.
        converts: whether equity counts every currency, converted by pairs among the instruments; otherwise each
            currency is valued alone.
    Raises:
        SettingsError: an instrument is quoted in a currency that has no account, a contract is in a cash account, a
            spot instrument in an account of isolated margins, or a currency cannot be converted.
    """

    def __init__(
        self,
        cash: Mapping[str, Decimal],
        instruments: Iterable[Instrument],
        *,
        allow_short: bool = True,
        margin: MarginTerms | None = None,
        converts: bool = False,
    ) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.allow_short = allow_short
        self.margin = margin
        self.mark_of: Callable[[str], float | None] | None = None
        """Gives the mark price known last, where a venue publishes one; None: positions are valued at closes."""
        self.accounts: dict[str, Account] = {}
        for currency, amount in cash.items():
            quoted = [instrument for instrument in self.instruments.values() if instrument.quote == currency]
            self.accounts[currency] = Account(currency, currency_unit(quoted))
            self.accounts[currency].deposit(amount)
        self.positions: dict[str, Position] = {}
        for instrument in self.instruments.values():
            if instrument.quote not in self.accounts:
                known = ", ".join(self.accounts) or "none"
                raise SettingsError(
                    f"{instrument.symbol} is paid in {instrument.quote}, but the account has {known}; "
                    f"add cash in {instrument.quote} (0 will do)"
                )
            self.positions[instrument.symbol] = self._position(instrument, self.accounts[instrument.quote])
        used = {instrument.quote for instrument in self.instruments.values()}
        valued = [name for name, account in self.accounts.items() if account.cash_units or name in used]
        self.conversion = None
        if converts and (len(valued) > 1 or valued != [self.currency]):
            self.conversion = Conversion([self.currency, *valued], self.instruments.values())

    def _position(self, instrument: Instrument, account: Account) -> Position:
        margin, symbol = self.margin, instrument.symbol
        if margin is None:
            if instrument.is_contract:
                raise SettingsError(
                    f'{symbol} is a {instrument.kind}, which a cash account cannot hold; set [account] kind = "margin"'
                )
            return Position(instrument, account)
        schedule = margin.of(symbol).in_units(account.unit)
        if instrument.is_contract:
            return ContractPosition(instrument, account, schedule, is_isolated=margin.mode == "isolated")
        if margin.mode == "isolated":
            raise SettingsError(
                f"{symbol} is a spot instrument, and isolated margins are for perpetuals; set its "
                f'kind = "perpetual", or [account] margin_mode = "cross"'
            )
        return FinancedPosition(instrument, account, schedule)

    @property
    def is_cash_account(self) -> bool:
        """Whether nothing is bought with borrowed money, and no contract is held."""
        return self.margin is None

    @property
    def is_plain(self) -> bool:
        """Whether this is a cash account that is valued in one currency: what the compiled run can keep."""
        return self.margin is None and self.conversion is None

    @property
    def currency(self) -> str:
        """The currency that results are reported in."""
        return next(iter(self.accounts))

    def apply(self, fill: Fill) -> None:
        """Book a fill."""
        self.positions[fill.order.symbol].apply(fill.side, fill.price_ticks, fill.lots, fill.fee_units)

    def own_equity_units(self, currency: str, price_of: Callable[[str], float | None]) -> int:
        """Return cash + worth of the positions quoted in a currency, in its units, at the given prices."""
        account = self.accounts[currency]
        total = account.cash_units
        for position in account.open_positions:
            symbol = position.instrument.symbol
            price = price_of(symbol) if self.mark_of is None else self.mark_of(symbol) or price_of(symbol)
            assert price is not None, "what is held has been bought at a price"
            total += position.worth_units(position.instrument.to_ticks(price))
        return total

    def equity_units(self, currency: str, price_of: Callable[[str], float | None]) -> int:
        """Return cash + worth of the positions in a currency, in its units; where currencies are converted, of all the
        accounts, cut down to whole units.

        Args:
            price_of: the last price of a symbol; a mark price goes before it.
        Raises:
            DataError: a rate is not known yet.
        """
        total = self.own_equity_units(currency, price_of)
        if self.conversion is not None:
            unit = Fraction(self.accounts[currency].unit)
            for name, account in self.accounts.items():
                units = self.own_equity_units(name, price_of) if name != currency else 0
                if units:
                    total += int(units * Fraction(account.unit) * self.conversion.rate(name, currency, price_of) / unit)
        return total

    def equity(self, currency: str, price_of: Callable[[str], float | None]) -> Decimal:
        """Return what `equity_units` does, in the currency; exact at prices snapped to increments."""
        return self.equity_units(currency, price_of) * self.accounts[currency].unit
