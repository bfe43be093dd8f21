"""`explain`: the bars that two runs saw, found again, and what the difference of their profits is made of."""

from pathlib import Path

import numpy as np

from config.assembly import open_journal
from config.data import bars_of, make_feed
from config.rerun import moved
from config.settings import ROOT, settings_from
from engine.analysis.explain import NEEDED, Explanation, Side, explain
from engine.analysis.explain_bars import SymbolBars, by_symbol
from engine.analysis.inputs import recorded
from engine.bars import Bar, Bars, Stream
from engine.errors import JournalError
from engine.journal.lineage import load_run
from engine.journal.reading import JournalReader, Readable, RunRecord
from engine.live.coding import decoded
from engine.live.inputs import BarsClosed
from engine.records import SessionInputRow


def explain_runs(
    first: int | None, second: int | None, journal: str | None = None, second_journal: str | None = None,
    data: Path | None = None,
) -> Explanation:
    """Return why the first run's profit differs from the second's over the time that both have.

    Args:
        first, second: their numbers; None for the newest. second_journal: where the second is, if it is another.
        data: where the files or the catalog of a backtest are now.
    Raises:
        JournalError: there is no such run, or they cannot be explained. DataError: a backtest's bars are not to be had.
    """
    sides = []
    for run_id, url in ((first, journal), (second, second_journal or journal)):
        with open_journal(url) as opened:
            sides.append(side_of(opened, run_id, data))
    a, b = sides
    if (a.record.run.id, journal) == (b.record.run.id, second_journal or journal):
        raise JournalError(f"run {a.record.run.id} is held against itself; name another run")
    return explain(a, b)


def side_of(journal: Readable, run_id: int | None, data: Path | None = None) -> Side:
    """Return a run with its rows and its bars: those that a live session recorded, or a backtest's data read again."""
    record = load_run(journal, run_id, NEEDED)
    return Side(record, bars_of_run(journal, record, data=data))


def bars_of_run(
    journal: Readable, record: RunRecord, *, data: Path | None = None, with_history: bool = False
) -> dict[str, SymbolBars]:
    """Return the bars that a run saw, by symbol.

    Args:
        with_history: a session's bars for warming up, too.
    Raises:
        JournalError: they are not to be had any more. DataError, SettingsError: a backtest's data cannot be read.
    """
    if record.run.start.kind == "backtest":
        return _bars_read(record, journal, data)
    with journal.snapshot() as reader:
        return _bars_heard(reader, record, with_history)


def _bars_read(record: RunRecord, journal: Readable, data: Path | None) -> dict[str, SymbolBars]:
    run = record.run
    settings = settings_from(run.start.settings, folder=ROOT, origin=f"the settings of run {run.id}")
    if data is not None:
        with journal.snapshot() as reader:
            settings = moved(settings, data, recorded(reader, run.id, run.start))
    feed = make_feed(settings)
    if feed.fingerprint != run.start.data_fingerprint:
        raise JournalError(
            f"the data of run {run.id} have changed since it ran, so that its bars are not to be had; `rerun {run.id}` "
            "names the first that differs, --data PATH says where they are now")
    bars = bars_of(feed)
    if bars is None:
        raise JournalError(f"run {run.id} read too many bars to lay side by side; run it over the paper session's time")
    return by_symbol(bars)


def _bars_heard(reader: JournalReader, record: RunRecord, with_history: bool) -> dict[str, SymbolBars]:
    run = record.run
    heard: list[Bar] = []
    for row in reader.rows(SessionInputRow, run.id):
        if row.kind == "bars_closed":
            given = decoded(row.kind, row.body)
            if isinstance(given, BarsClosed) and (with_history or not given.is_history):
                heard.extend(given.bars)
    if not heard:
        raise JournalError(f"run {run.id} ({run.start.kind}) has recorded no bars; there is nothing to explain yet")
    return by_symbol(_as_columns(heard))


def _as_columns(heard: list[Bar]) -> Bars:
    heard = sorted(heard, key=lambda bar: bar.close_time)
    of_bars = [Stream(bar.symbol, bar.timeframe) for bar in heard]
    streams = list(dict.fromkeys(of_bars))
    times = np.array([(bar.open_time, bar.close_time) for bar in heard], np.int64)
    open_, high, low, close, volume = np.array([bar[3:8] for bar in heard], np.float64).T
    places = np.array([streams.index(stream) for stream in of_bars], np.int32)
    return Bars(tuple(streams), times[:, 0], times[:, 1], open_, high, low, close, volume, stream=places)
