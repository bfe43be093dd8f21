"""Runs in a copy of this process.

A strategy may keep things in its class, its module or a generator of random numbers. Each run of a check gets a fresh
copy of the process in which the strategy was loaded and never ran, so that nothing is handed on.
"""

import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

from engine.errors import EngineError, PluginError

Answer = TypeVar("Answer")


def in_copy(work: Callable[[], Answer]) -> Answer:
    """Return what `work` returns in a copy of this process. What it prints is dropped, and its warnings are off.

    Raises:
        EngineError: the one that `work` raised; any other error of its becomes a PluginError.
        PluginError: the copy was ended, or there are none on this system.
    """
    if not hasattr(os, "fork"):
        raise PluginError("check needs a system that can copy a process (Linux or macOS); this one cannot fork")
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)  # our own copy: nobody would wait for it any more
        os.waitpid(child, 0)
        raise
    _, status = os.waitpid(child, 0)
    if not data:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        raise PluginError(f"the strategy ended its process ({how}) instead of raising an error")
    is_error, answer = pickle.loads(data)
    if is_error:
        raise answer
    return answer


def _answer(work: Callable[[], Answer], writing: int) -> None:
    """Do the work and leave the process, past every clean-up that belongs to the original."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        warnings.simplefilter("ignore")
        data = pickle.dumps((False, work()), protocol=5)
    except EngineError as error:
        data = pickle.dumps((True, type(error)(str(error))))
    except BaseException as error:  # noqa: BLE001  told to the original, which raises it
        data = pickle.dumps((True, PluginError(f"{type(error).__name__}: {error}")))
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)
