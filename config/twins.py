"""A session's twin: the bars that it heard, through the same engine and strategy, filled as a backtest fills.

What people and the feed said meanwhile (halts, stale data) is left out: the twin is what the session would have been
had nothing but bars come, and what models were made of.
"""

from dataclasses import replace

from config.session import facts_of, session_core, settings_of
from engine.errors import JournalError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.live.inputs import BarsClosed, Input, ModelSwapped, SeriesTold
from engine.live.session import Session, recorded_inputs
from engine.records import SessionInputRow

TWIN = "twin_of"
"""Names, in what a run's data are, the session whose twin it is."""


def make_twin(journal: SqlJournal, run_id: int | None) -> tuple[int, int]:
    """Run a session's recorded bars with the simulated broker, journalled as a run of its own; return the session's
    number and the twin's.

    Args:
        run_id: None for the newest run.
    Raises:
        JournalError: there is no such run, or it is no session that has recorded bars.
        SettingsError, PluginError: its strategy or its models are not to be had any more.
    """
    run = load_run(journal, run_id, ()).run
    facts, settings = replace(facts_of(run), broker="simulated"), settings_of(run)
    settings = settings.model_copy(update={
        "run": settings.run.model_copy(update={"name": f"{settings.run.name} (twin of run {run.id})"}),
        "live": settings.live.model_copy(update={"broker": "simulated"}),
    })
    with journal.snapshot() as reader:
        rows = reader.rows(SessionInputRow, run.id)
    heard = [given for given in recorded_inputs(rows) if isinstance(given, BarsClosed | ModelSwapped | SeriesTold)]
    if not any(isinstance(given, BarsClosed) for given in heard):
        raise JournalError(f"run {run.id} has recorded no bars; there is nothing to run")
    with session_core(settings, facts, journal) as made:
        session = Session(made.core, made.recording, timings=made.timings, now=lambda: heard[-1].time)
        start = replace(made.start, data={**made.start.data, TWIN: run.id})
        twin = session.begin(start)
        journal.write(made.inputs)
        session.take([_on_time(given) for given in heard])
        session.end()
    return run.id, twin


def _on_time(given: Input) -> Input:
    return given._replace(received_at=given.time) if isinstance(given, BarsClosed) else given
