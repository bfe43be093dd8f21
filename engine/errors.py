"""Every error that Barcast raises on purpose.

EngineError
├── SettingsError         a setting is unknown, out of range or contradictory
├── DataError             bars are missing, unsorted, impossible or not where they should be
├── PluginError           a strategy, feed, model or broker written by an author misbehaves
│   └── StrategyError     a strategy raised; the message names the bar and the line
├── OrderError            an order was asked to do what its state does not allow
├── JournalError          the record of a run cannot be written or read
│   └── DivergenceError   what was recorded does not come about again; names the first row that differs
└── VenueError            an exchange refused or misbehaved
    └── VenueUnavailable  worth retrying; no other error is

A message says what was found, what was expected and the way out.
"""

from difflib import get_close_matches


class EngineError(Exception):
    """Base of every error raised on purpose; catching it never hides a bug of ours."""


class SettingsError(EngineError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(EngineError):
    """Market data cannot be used as it is."""


class PluginError(EngineError):
    """Code written by a plugin author cannot be found, loaded or run."""


class StrategyError(PluginError):
    """A strategy raised while handling an event."""


class OrderError(EngineError):
    """An order cannot do what was asked of it."""


class JournalError(EngineError):
    """The record of a run cannot be written or read."""


class DivergenceError(JournalError):
    """A run that was recorded does not come about again from its inputs. `args[0]` is the Divergence."""


class VenueError(EngineError):
    """An exchange refused a request or answered what cannot be understood."""


class VenueUnavailable(VenueError):
    """The exchange could not be reached or asked us to wait; trying again may help."""


def nearest_name(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return "; did you mean 'x'?" for the closest known name, or an empty string."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
