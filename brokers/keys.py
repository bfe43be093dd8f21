"""API keys of a venue: from the environment or a keyring, never from a settings file, and never shown."""

import os
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from engine.errors import SettingsError

PARTS = ("key", "secret", "passphrase")
_SIGNED = re.compile(
    r"(?i)\b((?:api[-_]?key|signature|sign|secret|password|passphrase|listenkey)['\"]?\s*[=:]\s*['\"]?)[^&\s'\",}]+"
)


class Keys:
    """The keys of one account. They are shown nowhere: neither in `repr`, nor in what `hidden` has been asked about."""

    __slots__ = ("_key", "_passphrase", "_secret", "source")

    def __init__(self, key: str, secret: str, passphrase: str = "", source: str = "given") -> None:
        self._key, self._secret, self._passphrase, self.source = key, secret, passphrase, source

    def for_ccxt(self) -> dict[str, str]:
        """Return the settings that a ccxt client is made with."""
        keys = {"apiKey": self._key, "secret": self._secret}
        return {**keys, "password": self._passphrase} if self._passphrase else keys

    def hidden(self, text: str) -> str:
        """Return a text without keys, signatures and what else proves who we are."""
        for part in (self._key, self._secret, self._passphrase):
            if part:
                text = text.replace(part, "***")
        return _SIGNED.sub(r"\1***", text)

    def __repr__(self) -> str:
        return f"<Keys from {self.source}>"

    def __reduce__(self) -> str:
        raise TypeError("keys are not written anywhere")


def keys_of(venue: str, environment: Mapping[str, str] | None = None) -> Keys:
    """Return the keys of a venue's test network: BARCAST_<VENUE>_KEY, _SECRET and, where the venue asks for one,
    _PASSPHRASE in the environment, else the same names under "barcast" in the system's keyring, if the `keyring`
    package is installed.

    Raises:
        SettingsError: there are none.
    """
    environment = os.environ if environment is None else environment
    names = {part: f"BARCAST_{venue}_{part}".upper() for part in PARTS}
    found = {part: environment.get(name, "") for part, name in names.items()}
    if found["key"] and found["secret"]:
        return Keys(found["key"], found["secret"], found["passphrase"], "the environment")
    kept = {part: _from_keyring(name) for part, name in names.items()}
    if kept["key"] and kept["secret"]:
        return Keys(kept["key"], kept["secret"], kept["passphrase"], "the keyring")
    raise SettingsError(
        f"no keys of {venue}'s test network: set {names['key']} and {names['secret']} in the environment (never in a "
        f"settings file), or keep them in a keyring under \"barcast\"; keys of real accounts are refused there"
    )


def _from_keyring(name: str) -> str:
    if find_spec("keyring") is None:
        return ""
    keyring, errors = import_module("keyring"), import_module("keyring.errors")
    try:
        return keyring.get_password("barcast", name) or ""
    except errors.KeyringError:  # there is the package, and no keyring
        return ""
