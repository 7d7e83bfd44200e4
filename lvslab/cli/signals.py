"""Ctrl-C and SIGTERM: no program that a stage has started lives longer than the run."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

from lvslab.core.procs import stop

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM: ends the work as Ctrl-C does, so that nothing is left behind."""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Inside, SIGINT raises KeyboardInterrupt and SIGTERM Terminated, and programs are stopped.

    Python runs a signal's handler in the main thread only, which may be waiting for threads
    that wait for programs; so the C handler wakes a thread of its own (set_wakeup_fd)
    and stops the programs.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)
    thread = threading.Thread(target=_watch, args=(told,), name="signals", daemon=True)
    thread.start()
    fd = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _interrupt) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd)
        tell.close()
        thread.join()
        told.close()


def _watch(told: socket.socket) -> None:
    while numbers := told.recv(64):
        if any(number in STOPPING for number in numbers):
            stop()
