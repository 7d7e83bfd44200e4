"""A network namespace: made, entered by a thread, and emptied.

Everything of a lab runs inside its namespace, so the kernel itself knows which processes
belong to it: no list of process ids that can be stale, and no stranger is ever killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import MissingError, StageError
from lvslab.core.procs import run

_CLONE_NEWNET = 0x40000000  # sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """The network namespace that `ip netns` knows as `name`."""

    name: str

    @property
    def path(self) -> Path:
        """The file that stands for the namespace."""
        return Path("/run/netns") / self.name

    def exists(self) -> bool:
        """Whether the namespace is there (a file that a crash left unmounted does not count)."""
        try:
            return self.path.stat().st_dev != self.path.parent.stat().st_dev
        except FileNotFoundError:
            return False

    def create(self) -> None:
        """Make the namespace with its loopback up; one that is there is kept."""
        if not self.exists():
            self.path.unlink(missing_ok=True)
            run(["ip", "netns", "add", self.name], what="making the lab's network namespace")
        run(["ip", "-n", self.name, "link", "set", "lo", "up"], what="bringing up loopback")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread into the namespace: sockets and programs made here live there.

        Other threads stay where they are (setns(2) is per thread). Raises StageError if the
        namespace is gone.
        """
        try:
            target = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StageError(
                "this lab is not running", where=self.name, hint="start it: lab up"
            ) from None
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
            yield
        finally:
            _setns(home)
            os.close(home)
            os.close(target)

    def heard(self, devices: Mapping[str, str]) -> dict[str, str]:
        """Those of a lab's networks, each with its device here, whose frames can be heard."""
        return dict(devices)

    def processes(self) -> list[int]:
        """The ids of all processes inside, as the kernel tells."""
        if not self.exists():
            return []
        inode = self.path.stat().st_ino
        return [pid for pid in _all_processes() if _namespace_of(pid) == inode]

    def kill_all(self, seconds: float = 10) -> None:
        """Kill every process inside and wait until none is left."""
        deadline = time.monotonic() + seconds
        while found := self.processes():
            for pid in found:
                self.kill(pid, deadline - time.monotonic())

    def has(self, pid: int) -> bool:
        """Whether a process lives inside."""
        return self.exists() and _namespace_of(pid) == self.path.stat().st_ino

    def kill(self, pid: int, seconds: float = 10) -> None:
        """Kill a process if it is inside, and wait for its end.

        The pidfd is taken before the look, so that a process id reused in between never
        reaches a stranger. A process has ended when its pidfd is readable (pidfd_open(2)): it
        leaves its namespaces earlier, while other threads of it still hold their files.
        """
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if not self.has(pid):
                    return
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not select.select([handle], [], [], max(0.0, seconds))[0]:
                    raise StageError(
                        f"the process {pid} does not end",
                        where=self.name,
                        hint="look at it with ps, then run lab down again",
                    )
            finally:
                os.close(handle)

    def remove(self) -> None:
        """Kill what is inside and remove the namespace with its bridges and taps."""
        if self.exists():
            self.kill_all()
            run(["ip", "netns", "del", self.name], what="removing the lab's network namespace")
        self.path.unlink(missing_ok=True)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise MissingError(
            f"cannot enter the lab's network namespace: {os.strerror(error)}",
            hint="run the command as the user who started the lab",
        )


def _all_processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208


def _namespace_of(pid: int) -> int | None:
    """The inode of a process's network namespace; None if it ended or is not ours to see."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116
    except OSError:
        return None
