"""Secrets are refused in settings, found in the environment, and hidden in whatever is written."""

import logging
from pathlib import Path

import pytest

from config.secrets import RedactingFilter, Redactor, refuse_secrets, secret_of
from config.settings import load_settings
from engine.errors import SettingsError

ENVIRONMENT = {
    "BARCAST_BINANCE_SECRET": "s3cr3t-value", "BARCAST_CHAT_ADDRESS": "tgram://bot:abcdef/42", "HOME": "/root"}


@pytest.mark.parametrize("name", ["api_key", "apiKey", "Secret", "api-secret", "password", "passphrase", "private_key"])
def test_settings_that_hold_a_secret_are_refused_by_name_and_not_by_value(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'[data]\nsource = "synthetic"\n"{name}" = "dont-show-me"\n[strategy]\nname = "SmaCross"\n')
    with pytest.raises(SettingsError, match=rf"data.{name} is a secret, and .* \(BARCAST_<VENUE>_KEY and") as refused:
        load_settings(path)
    assert "dont-show-me" not in str(refused.value)


def test_names_that_only_sound_like_secrets_are_let_be() -> None:
    refuse_secrets({"strategy": {"parameters": {"key_bars": 3, "tokens": 5}}, "password": ""}, "x")


def test_a_secret_comes_from_the_environment_or_is_missed_by_name() -> None:
    assert secret_of("BARCAST_CHAT_ADDRESS", ENVIRONMENT) == "tgram://bot:abcdef/42"
    with pytest.raises(SettingsError, match="there is no BARCAST_OTHER_ADDRESS in the environment, nor in a keyring"):
        secret_of("BARCAST_OTHER_ADDRESS", ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("sent s3cr3t-value twice: s3cr3t-value", "sent *** twice: ***"),
        ("GET /order?symbol=X&signature=0badcafe&recvWindow=5", "GET /order?symbol=X&signature=***&recvWindow=5"),
        ('{"apiKey": "abc123def", "side": "buy"}', '{"apiKey": "***", "side": "buy"}'),
        ("X-MBX-APIKEY: qwertzuiop", "X-MBX-APIKEY: ***"),
        ("postgresql://me:hunter22@host/base is away", "postgresql://***@host/base is away"),
        ("secret of success", "secret of success"),
        ("order 7 filled at 100", "order 7 filled at 100"),
    ],
)
def test_what_is_written_hides_secrets(text: str, hidden: str) -> None:
    assert Redactor(environment=ENVIRONMENT).hidden(text) == hidden


def test_what_libraries_log_hides_them_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RedactingFilter(Redactor(environment=ENVIRONMENT)))
    logger = logging.getLogger("some.library")
    try:
        raise ValueError("bad answer with s3cr3t-value")
    except ValueError:
        logger.exception("failed: %s", {"secret": "s3cr3t-value"})
    assert "s3cr3t" not in caplog.text
    assert "ValueError: bad answer with ***" in caplog.text
