"""Secrets: taken from the environment or a keyring, refused in settings, and hidden from whatever is written.

The keys of accounts are brokers.keys; here are the addresses to notify, and the hiding that every command does.
"""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from engine.errors import SettingsError

_NAMES = frozenset({
    "apikey", "api_key", "apisecret", "api_secret", "secret", "secret_key", "secretkey", "password", "passphrase",
    "passwd", "private_key", "privatekey", "access_token", "accesstoken", "auth_token", "bot_token", "webhook_url",
})
_OURS = re.compile(r"BARCAST_\w+_(?:KEY|SECRET|PASSPHRASE|ADDRESS)", re.IGNORECASE)
"""Environment variables whose values are hidden by name alone."""
_SAID = re.compile(
    r"""(?ix) \b (?P<name> (?:x-)? (?: \w+ [-_] )? (?: api[-_]?key | apisecret | signature | secret | password |
    passphrase | access[-_]?token | bot[-_]?token | listenkey ) [-_]? \w* ['"]? \s* [=:] \s* ['"]? ) [^&\s'",}]+ """)
_IN_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
HIDDEN = "***"
_SHORTEST = 6
"""Shorter values are no secrets, and hiding them would garble the text."""


def refuse_secrets(given: Mapping[str, Any], origin: str) -> None:
    """Refuse settings that hold a secret: they are recorded with every run.

    Raises:
        SettingsError: naming the setting, never its value.
    """
    for keys, value in _walked(given, ()):
        if keys == ("live", "notify") and "://" in str(value):
            raise SettingsError(
                f"{origin}: live.notify has an address, which is a secret; put it into the environment, and the name "
                'of the variable here: notify = "BARCAST_DESK_ADDRESS"')
        name = keys[-1].lower().replace("-", "_")
        if name in _NAMES and value not in (None, "", ()):
            raise SettingsError(
                f"{origin}: {'.'.join(keys)} is a secret, and settings are recorded with every run; take it out, and "
                "set it in the environment (BARCAST_<VENUE>_KEY and _SECRET for an account's keys) or a keyring: "
                "docs/paper.md")


def _walked(given: Any, keys: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield every value with the names that lead to it, however deep it lies."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(given, keys)]
    while waiting:
        value, keys = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((part, (*keys, str(name))) for name, part in reversed(list(value.items())))
            continue
        if isinstance(value, list | tuple):
            waiting.extend((part, keys) for part in reversed(value) if isinstance(part, Mapping))
        if keys:
            yield keys, value


def secret_of(name: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a secret by the name of an environment variable, or of an entry under "barcast" in the keyring.

    Raises:
        SettingsError: there is none of that name.
    """
    found = (os.environ if environment is None else environment).get(name, "")
    if not found and find_spec("keyring") is not None:
        keyring = import_module("keyring")
        try:
            found = keyring.get_password("barcast", name) or ""
        except keyring.errors.KeyringError:  # a machine without a desktop has no keyring to ask
            found = ""
    if not found:
        raise SettingsError(f"there is no {name} in the environment, nor in a keyring under \"barcast\"; set it there")
    return found


class Redactor:
    """Hides secrets in texts: those it knows by value, and what looks like one by its name.

    Args:
        secrets: values; the environment's BARCAST_…_KEY, _SECRET, _PASSPHRASE and _ADDRESS are known anyway.
    """

    def __init__(self, secrets: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> None:
        around = os.environ if environment is None else environment
        known = {value for name, value in around.items() if _OURS.fullmatch(name)}
        self._known = sorted((one for one in known | set(secrets) if len(one) >= _SHORTEST), key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """Return the text without them."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        return _IN_URL.sub(rf"\g<head>{HIDDEN}@", _SAID.sub(rf"\g<name>{HIDDEN}", text))


def log_without_secrets() -> None:
    """Let what libraries have to say go to the error stream, secrets hidden."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(Redactor()))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", handlers=[handler])


class RedactingFilter(logging.Filter):
    """Hides secrets in what libraries log; put it on a handler."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.hidden(record.getMessage()), ()
        if record.exc_info is not None and record.exc_info[1] is not None:
            record.exc_text = self._redactor.hidden(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True
