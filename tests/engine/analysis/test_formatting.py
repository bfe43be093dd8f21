import pytest

from engine.analysis.formatting import duration, listed, money, number, percent, price, short, statistic
from engine.bars import DAY, HOUR, MINUTE, SECOND

CASES = [
    (percent(0.1234), "12.34 %"),
    (percent(0.1234, signed=True), "+12.34 %"),
    (percent(-0.00001), "0.00 %"),
    (percent(12.345), "1,234.5 %"),
    (percent(None), "–"),
    (percent(float("nan")), "–"),
    (money(1234.5, "USDT"), "1,234.50 USDT"),
    (money(-12345.6), "-12,346"),
    (money(0.0123), "0.0123"),
    (money(0.0), "0.00"),
    (money(5.0, signed=True), "+5.00"),
    (number(1.2345), "1.23"),
    (number(0.0004), "0.0004"),
    (number(None), "–"),
    (price(42283.58), "42,283.58"),
    (price(1.4232846e-05), "0.0000142328"),
    (price(1335207309.0), "1,335,210,000"),
    (price(0.0), "0"),
    (duration(3 * DAY + 4 * HOUR), "3 d 4 h"),
    (duration(90 * SECOND), "1 min"),
    (duration(400 * DAY), "1 y 35 d"),
    (duration(DAY + MINUTE), "1 d"),
    (duration(SECOND // 2), "0.5 s"),
    (duration(0), "0 s"),
    (duration(None), "–"),
    (short(999), "999"),
    (short(12_345), "12.3 k"),
    (short(1_700_000), "1.7 M"),
    (listed(["A", "B", "C"], 2), "A, B and 1 more"),
    (listed(["A", "B"], 2), "A, B"),
    (statistic("win_rate", 0.5), "50.00 %"),
    (statistic("fills", 22_000), "22,000"),
    (statistic("cost_rate", 6.0), "6.00 bp"),
    (statistic("final_equity", 10.0, "EUR"), "10.00 EUR"),
    (statistic("sharpe", None), "–"),
    (statistic("average_duration", HOUR), "1 h"),
]


@pytest.mark.parametrize(("shown", "expected"), CASES)
def test_numbers_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected
