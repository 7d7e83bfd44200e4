"""Runs a program that ends when whoever started it ends: `leash.py PROGRAM [ARG ...]`.

Packer starts QEMU; if Packer is killed hard, QEMU continues. With this leash neither lives longer
than the build, however the build ends. Standard library only; Linux 5.3 and later
(pidfd_open(2)).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_leash() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(argv: list[str]) -> int:
    """Run `argv` and return its status, 137 if the starter ended first."""
    try:
        starter = os.pidfd_open(os.getppid())
    except ProcessLookupError:
        return 137
    child = subprocess.Popen(argv, preexec_fn=_die_with_leash)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: child.send_signal(received))
    poll = select.poll()
    for descriptor in (starter, os.pidfd_open(child.pid)):
        poll.register(descriptor, select.POLLIN)
    while child.poll() is None:
        if any(descriptor == starter for descriptor, _ in poll.poll()):
            child.kill()
            child.wait()
            return 137
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
