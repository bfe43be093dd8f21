"""Commands from another process, and the kill switch."""

from pathlib import Path

import pytest

from engine.errors import JournalError
from engine.journal.sql import SqlJournal
from engine.journal.testing import sample_start
from engine.live.controls import Controls
from engine.live.inputs import Commanded
from engine.records import CommandRow

NOW = 1_700_000_000_000_000_000


def asked(journal: SqlJournal, kind: str, **more: str) -> int:
    return journal.add_command(1, CommandRow(0, NOW, kind, more.get("symbol", ""), "", "because", "ann"))


def test_each_command_is_heard_once_and_in_order(tmp_path: Path) -> None:
    with SqlJournal(tmp_path / "j.db") as session, SqlJournal(tmp_path / "j.db") as other:
        run = session.begin(sample_start())
        controls = Controls(session, run, now=lambda: NOW)
        assert controls.poll() == []
        assert [asked(other, "halt"), asked(other, "flatten", symbol="BTC/USDT")] == [1, 2]
        assert controls.poll() == [
            Commanded(NOW, "halt", "because", "ann", number=1),
            Commanded(NOW, "flatten", "because", "ann", "BTC/USDT", number=2)]
        assert controls.poll() == []
        asked(other, "stop")
        assert [one.kind for one in Controls(session, run, now=lambda: NOW, heard=2).poll()] == ["stop"]
        with pytest.raises(JournalError, match="CHECK constraint"):
            asked(other, "explode")


def test_the_kill_switch_halts_until_it_is_removed_and_lifted(tmp_path: Path) -> None:
    with SqlJournal(tmp_path / "j.db") as journal:
        run, file = journal.begin(sample_start()), tmp_path / "HALT"
        controls = Controls(journal, run, now=lambda: NOW, kill_switch=file)
        assert controls.poll() == []
        file.write_text("bad news\nmore")
        assert controls.poll() == [Commanded(NOW, "halt", f"{file} is there: bad news", "kill switch")]
        assert controls.poll() == []
        asked(journal, "lift")  # in vain: the file is still there
        assert [one.kind for one in controls.poll()] == ["lift", "halt"]
        file.unlink()
        asked(journal, "lift")
        assert [one.kind for one in controls.poll()] == ["lift"]
        file.write_text("flatten now")
        assert [one.kind for one in controls.poll()] == ["flatten"]


def test_an_empty_file_or_a_folder_halts_too(tmp_path: Path) -> None:
    with SqlJournal(tmp_path / "j.db") as journal:
        run, place = journal.begin(sample_start()), tmp_path / "HALT"
        place.mkdir()
        controls = Controls(journal, run, now=lambda: NOW, kill_switch=place)
        assert controls.poll() == [Commanded(NOW, "halt", f"{place} is there", "kill switch")]
