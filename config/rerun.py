"""Reruns: a run made again from nothing but what the journal says of it, or the first input that differs by name.

What must be the same: every setting, the text of each source file that decides orders, the strategy's files wherever
they lie, the first two numbers of each library's version, the seeds, and every bar. What is only told: the third number
of a version, the commit where the files are the same, the platform.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.assembly import (
    check_symbols,
    make_parts,
    make_portfolio,
    make_strategy,
    open_journal,
    run_backtest,
)
from config.data import known_increments, make_feed, survey
from config.forecasts import make_forecasters, make_policies, model_hashes
from config.manifest import code_version, library_versions, platform_facts, run_inputs
from config.settings import ROOT, FileData, JournalSettings, Settings, SyntheticData, section_from, settings_from
from config.sources import engine_sources
from engine.analysis.comparison import Comparison, Run, compare
from engine.analysis.input_differences import input_differences
from engine.analysis.inputs import Difference, Recorded, recorded
from engine.bars import Bars, Stream
from engine.errors import EngineError, JournalError, SettingsError
from engine.interfaces import Feed
from engine.journal.lineage import load_run
from engine.journal.reading import Readable, RunRecord
from engine.loop import Progress
from engine.records import InputRow
from feeds.chunks import split

MOVED = ("data.paths", "data.folder", "data.symbols")
"""Settings that `--data` may change: the bars themselves are compared."""


@dataclass(frozen=True)
class Rerun:
    """What came of a rerun.

    Args:
        run_id: the run that was to be made again; new_id: its rerun, None if it was refused.
        differences: of what it was made of, those that stop a rerun first.
        comparison: of the two runs; None if it was refused.
    """

    run_id: int
    differences: tuple[Difference, ...]
    new_id: int | None = None
    comparison: Comparison | None = None

    @property
    def status(self) -> str:
        """Return "same", "differs" or "refused"."""
        if self.comparison is None:
            return "refused"
        return "same" if self.comparison.is_same else "differs"

    @property
    def exit_status(self) -> int:
        """Return 0 for the same orders and fills, 1 for others, 2 for a rerun that was refused."""
        return {"same": 0, "differs": 1, "refused": 2}[self.status]

    @property
    def stops(self) -> tuple[Difference, ...]:
        """What speaks against the rerun."""
        return tuple(one for one in self.differences if one.stops)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        made = self.comparison
        return {
            "status": self.status,
            "run_id": self.run_id,
            "rerun_id": self.new_id,
            "order_hash": made.hashes[0] if made else None,
            "rerun_order_hash": made.hashes[1] if made else None,
            "differences": [{**vars(one), "text": str(one)} for one in self.differences],
            "comparison": made.as_dict() if made else None,
        }


def make_again(
    journal: str | None, run_id: int | None, *, data: Path | None = None, force: bool = False,
    progress: Progress | None = None,
) -> Rerun:
    """Make a run again, journalled as a run of its own, and compare.

    Args:
        journal: its URL, the usual one if None; run_id: the newest if None.
        data: where its files or its catalog are now.
        force: run although inputs differ, as far as there is a run to make.
    Raises:
        JournalError: there is no such run, or it is none that can be made again: it did not complete, it is no
            backtest, or its manifest lacks what a rerun needs.
        SettingsError: `data` fits the run's settings ill.
    """
    with open_journal(journal) as opened:
        then = read_run(opened, run_id)
    info = then.info
    _check_kind(then)
    if not force:
        _check_manifest(then)
    found, settings = inputs_now(then.made_of, f"the settings of run {info.id}", data)
    stops = [one for one in found if one.stops]
    if settings is None or any(one.fault for one in stops) or (stops and not force):
        return Rerun(info.id, tuple(found))
    settings = settings.model_copy(update={"journal": section_from(
        JournalSettings, [f"url={json.dumps(journal)}"] if journal else [], option="--journal")})
    said = {"run": str(info.id), "differences": json.dumps([str(one) for one in found], ensure_ascii=False)}
    done = run_backtest(settings, progress, rerun=said)
    with open_journal(journal) as opened:
        now = read_run(opened, done.result.run_id)
    return Rerun(info.id, tuple(found), now.info.id, compare(then, now))


def rerun_lines(done: Rerun) -> list[str]:
    """Return what came of a rerun in words."""
    told = [one for one in done.differences if not one.stops]
    lines = []
    if done.comparison is None:
        first, *others = done.stops
        lines += [f"run {done.run_id} cannot be made again: {first}", *(f"  also {one}" for one in others[:20])]
        if len(others) > 20:
            lines.append(f"  and {len(others) - 20:,} more; --json has them all")
        if not any(one.fault for one in done.stops):
            lines.append("  --force runs it all the same and compares")
        return lines
    ours, theirs = (hashed[:16] for hashed in done.comparison.hashes)
    again = f"run {done.run_id} was made again as run {done.new_id}"
    if done.status == "same":
        result = done.comparison.b.result
        counts = f"{result.get('orders', 0):,} orders, {result.get('fills', 0):,} fills"
        lines.append(f"{again}: the same order hash {ours} ({counts})")
    else:
        lines.append(f"{again}, and differs: order hash {ours}, now {theirs}")
    lines += [f"  although {one}" for one in done.stops]
    lines += [f"  note: {one}" for one in told]
    return lines


def compare_runs(
    first: int | None, second: int | None, journal: str | None = None, second_journal: str | None = None
) -> Comparison:
    """Return what differs between two runs, of one journal or of two.

    Bars that are still where they were lend the values that the journal lacks.

    Raises:
        JournalError: there is no such run.
    """
    runs = []
    for run_id, url in ((first, journal), (second, second_journal or journal)):
        with open_journal(url) as opened:
            runs.append(read_run(opened, run_id))
    a, b = runs
    if a.made_of.start.data_fingerprint != b.made_of.start.data_fingerprint:
        a, b = _with_bars(a), _with_bars(b)
    return compare(a, b)


def read_run(journal: Readable, run_id: int | None) -> Run:
    """Return a run with its rows and with what it was made of.

    Raises:
        JournalError: there is no such run.
    """
    tables = ("decisions", "orders", "fills", "account_events", "equity")
    record: RunRecord = load_run(journal, run_id, tables)
    with journal.snapshot() as reader:
        return Run(record, recorded(reader, record.run.id, record.run.start))


def inputs_now(
    then: Recorded, origin: str, data: Path | None = None
) -> tuple[list[Difference], Settings | None]:
    """Return how what is there now differs from what a run was made of, and the settings to make it again.

    What cannot be made at all ends the search: it is named together with what was found until then. The settings are
    None if they are what cannot be made.
    """
    found: list[Difference] = []
    now = Recorded(
        replace(then.start, libraries=library_versions(), code_version=code_version()[0], is_dirty=code_version()[1]),
        # What the strategy's files are is known once it is loaded, and those of settings once these are read.
        tuple(row for row in then.inputs if row.kind in ("strategy", "file")) + _platform_and_sources(),
        then.streams,
    )
    settings: Settings | None = None
    kind = "settings"
    try:
        settings = settings_from(then.start.settings, folder=ROOT, origin=origin)
        if data is not None:
            settings = moved(settings, data, then)
        now = replace(now, start=replace(now.start, settings=settings.model_dump(mode="json")))
        kind = "strategy"
        strategy = make_strategy(settings)
        kind = "data"
        feed = make_feed(settings)
        check_symbols(settings, feed)
        seen = survey(feed, known=known_increments(settings, feed))
        kind = "instrument"
        portfolio = make_portfolio(settings, feed, seen.price_increments)
        start = make_parts(settings, strategy, feed, portfolio, seen).start
        assert start is not None
        kind = "model"
        models = model_hashes({**make_forecasters(settings, feed.streams[0].timeframe), **make_policies(settings)})
        made = run_inputs(settings, strategy, feed, known=lambda _: None, models=models)
        now = Recorded(
            start, tuple(made.inputs), tuple(made.data_streams),  # type: ignore[arg-type]  # they are made as rows
            bar=lambda stream, index: bar_at(feed, stream, index),
        )
    except EngineError as error:
        found.append(Difference(kind, "", None, None, fault=f"{_first_line(error)}{_way_out(kind, then)}"))
    found = [*input_differences(then, now), *found]
    if data is not None:
        found = [one for one in found if one.kind != "settings" or one.name not in MOVED]
    found.sort(key=lambda one: not one.stops)
    return found, settings


def moved(settings: Settings, path: Path, then: Recorded) -> Settings:
    """Return settings that read the data from elsewhere: a catalog's folder, a file, or a folder with the files.

    Raises:
        SettingsError: the data are made up, so that there is no file of them; or files are missing there.
    """
    data = settings.data
    place = path.expanduser().resolve()
    if isinstance(data, SyntheticData):
        raise SettingsError(f"--data {path}: the run's market is synthetic, made from its seed; leave --data out")
    if isinstance(data, FileData):
        paths: tuple[Path, ...] = (place,)
        if place.is_dir() and all(old.suffix for old in data.paths):
            paths = tuple(place / old.name for old in data.paths)
            missing = [file.name for file in paths if not any(place.glob(file.name))]
            if missing:
                raise SettingsError(f"--data {path}: {missing[0]} is not there; expected the run's files, or name one")
        symbols = tuple(dict.fromkeys(row.symbol for row in then.streams))
        # A file that was renamed no longer says of what it has the bars.
        known = data.symbols or (symbols if len(symbols) == 1 else ())
        changed: dict[str, Any] = {"paths": paths, "symbols": known}
    else:
        changed = {"folder": place}
    return settings.model_copy(update={"data": data.model_copy(update=changed)})


def bar_at(feed: Feed, stream: Stream, index: int) -> Bars | None:
    """Return one bar of a stream by its number from 0, None if it has not so many."""
    passed = 0
    for chunk in feed.chunks():
        for place, rows in split(chunk):
            if chunk.streams[place] == stream:
                if index < passed + len(rows):
                    return rows[index - passed : index - passed + 1]
                passed += len(rows)
    return None


def _platform_and_sources() -> tuple[InputRow, ...]:
    rows = [("source", *item) for item in engine_sources().items()]
    rows += [("platform", *item) for item in platform_facts().items()]
    return tuple(InputRow(number, *row) for number, row in enumerate(rows, 1))


def _check_kind(run: Run) -> None:
    info = run.info
    if info.start.kind != "backtest":
        raise JournalError(
            f"run {info.id} is of kind {info.start.kind!r}; a rerun needs a backtest: what came in live cannot be made "
            "again from a manifest"
        )
    if info.status != "completed":
        reason = f" ({_first_line(info.error)})" if info.error else ""
        raise JournalError(
            f"run {info.id} is {info.status}{reason}; a rerun needs a run that completed, to have all of its orders to "
            "compare with"
        )


def _check_manifest(run: Run) -> None:
    """Refuse a run that an older version recorded, or that was made without settings."""
    made_of = run.made_of
    lacks = [
        what for what, there in (
            ("its settings", made_of.start.settings),
            ("the hashes of its source files", made_of.of("source")),
            ("the hashes of its strategy's files", made_of.of("strategy")),
            ("the hashes of its data, stream by stream", made_of.streams),
        ) if not there
    ]
    if lacks:
        raise JournalError(
            f"run {run.info.id}: its manifest lacks {', '.join(lacks)}, so that nobody can tell whether a rerun is "
            "made of the same; it was recorded by an older version, or not by `backtest`; --force runs it all the same "
            "and compares"
        )


def _with_bars(run: Run) -> Run:
    """Let a run's data be looked up, if they are still there and still what they were."""
    start = run.made_of.start
    try:
        feed = make_feed(settings_from(start.settings, folder=ROOT, origin="the run's settings"))
        if feed.fingerprint != start.data_fingerprint:
            return run
    except EngineError:
        return run  # the comparison does without: it then says less
    return replace(run, made_of=replace(run.made_of, bar=lambda stream, index: bar_at(feed, stream, index)))


def _way_out(kind: str, then: Recorded) -> str:
    match kind:
        case "data":
            return "; --data PATH names where the data are now"
        case "strategy":
            files = ", ".join(then.of("strategy")) or "not recorded"
            return f"; the run's strategy was in {files}"
    return ""


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]
