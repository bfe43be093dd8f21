"""Which process writes a run, so that another can tell whether it is still there.

A process id alone is not enough: ids are used again. The start time of the process and of the machine settle it.
"""

import os
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class ProcessMark:
    """One process among all that ever ran.

    Args:
        pid: its number, within `namespace`.
        host: the machine's name.
        boot: changes whenever the machine starts; "" where the system does not say.
        namespace: names the set of process numbers (a container has its own); "" where there is only one.
        started: when the process started, in the system's own words; "" where it does not say.
    """

    pid: int
    host: str
    boot: str = ""
    namespace: str = ""
    started: str = ""


def this_process() -> ProcessMark:
    """Return the mark of the process that asks."""
    boot, namespace = _machine()
    return ProcessMark(os.getpid(), socket.gethostname(), boot, namespace, _start_of(os.getpid()) or "")


def has_ended(mark: ProcessMark) -> bool:
    """Return whether the process is certainly gone; False where nobody here can know: another host or container."""
    boot, namespace = _machine()
    if mark.host != socket.gethostname():
        return False
    if mark.boot and boot and mark.boot != boot:
        return True
    if mark.namespace != namespace:
        return False
    started = _start_of(mark.pid)
    return started is None or bool(mark.started and started and mark.started != started)


def can_be_seen(mark: ProcessMark) -> bool:
    """Return whether the end of the process would be noticed from here: it runs, or ran, among our own."""
    return (mark.host, mark.boot, mark.namespace) == (socket.gethostname(), *_machine())


@cache
def _machine() -> tuple[str, str]:
    """Return what names this start of the machine, and this set of process numbers. Read once: neither can change."""
    try:
        return _BOOT_ID.read_text().strip(), os.readlink(_PID_NAMESPACE)
    except OSError:
        return "", ""


def _start_of(pid: int) -> str | None:
    """Return when a process started; None if there is none, "" if the system does not say."""
    if Path("/proc/self/stat").exists():
        return _start_from_proc(pid)
    return _start_from_ps(pid) if os.name == "posix" else ""


def _start_from_proc(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold blanks and brackets.
    fields = text[text.rindex(")") + 2 :].split()
    is_over = fields[0] in "ZX"    # ended, though its parent has not asked how
    return None if is_over else fields[19]


def _start_from_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)], env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        capture_output=True, text=True, check=False,
    )
    state, *started = answer.stdout.split() or [""]
    return None if not state or state.startswith("Z") else " ".join(started)
