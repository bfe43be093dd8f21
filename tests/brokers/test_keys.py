"""Keys come from the environment or a keyring, and are seen nowhere."""

import pickle
from copy import deepcopy

import pytest

from brokers.keys import Keys, keys_of
from engine.errors import SettingsError


def test_keys_are_read_from_the_environment() -> None:
    keys = keys_of("okx", {"BARCAST_OKX_KEY": "a", "BARCAST_OKX_SECRET": "b", "BARCAST_OKX_PASSPHRASE": "c"})
    assert keys.for_ccxt() == {"apiKey": "a", "secret": "b", "password": "c"}
    assert keys.source == "the environment"
    assert keys_of("binance", {"BARCAST_BINANCE_KEY": "a", "BARCAST_BINANCE_SECRET": "b"}).for_ccxt() == {
        "apiKey": "a", "secret": "b"
    }


def test_without_keys_the_message_says_where_they_belong() -> None:
    with pytest.raises(SettingsError, match=r"set BARCAST_OKX_KEY and BARCAST_OKX_SECRET in the environment \(ne"):
        keys_of("okx", {"BARCAST_OKX_KEY": "a"})


def test_keys_are_neither_shown_nor_written() -> None:
    keys = Keys("my-key", "my-secret", "my-phrase")
    assert repr(keys) == str(keys) == "<Keys from given>"
    assert not hasattr(keys, "__dict__")
    for write in (pickle.dumps, deepcopy):
        with pytest.raises(TypeError, match="keys are not written anywhere"):
            write(keys)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("GET /order?apiKey=my-key&x=1", "GET /order?apiKey=***&x=1"),
        ("timestamp=1&signature=0123abcd", "timestamp=1&signature=***"),
        ("{'X-MBX-APIKEY': 'my-key', 'sign': 'abc'}", "{'X-MBX-APIKEY': '***', 'sign': '***'}"),
        ('{"secret": "other", "password":"x"}', '{"secret": "***", "password":"***"}'),
        ("an insignificant signal", "an insignificant signal"),
    ],
)
def test_what_proves_who_we_are_is_hidden_in_texts(text: str, hidden: str) -> None:
    assert Keys("my-key", "my-secret").hidden(text) == hidden
