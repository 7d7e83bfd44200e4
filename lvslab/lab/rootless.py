"""Labs of an ordinary user: namespaces in which that user is root.

A keeper, a process that only sleeps, holds three namespaces as long as the user has labs: a
user namespace, a mount namespace with a /run of its own (there `ip netns` has its names) and
an empty network namespace, because nobody but root may come back to the host's own. Each verb
of the lab starts itself again inside, and continues as root would: all that it makes there
belongs to the user namespace. See user_namespaces(7) and nsenter(1).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lvslab.core.errors import MissingError
from lvslab.core.procs import program
from lvslab.lab.state import STATE_VARIABLE, own_root, runtime_root

_TUN = Path("/dev/net/tun")
_KEEPER = "keeper"
_KEEP = "mount -t tmpfs -o mode=755 lvslab /run && echo kept && exec sleep infinity"
_HINT = (
    "run it as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0"
)


def enter() -> None:
    """For root nothing. The command of any other user starts again, as root of its namespaces.

    Raises MissingError if this host has no taps, or does not let ordinary users have what a lab
    needs, and InputError if the folder for the labs' state belongs to somebody else.
    """
    if not _TUN.exists():
        raise MissingError(f"a lab needs taps, and {_TUN} is missing", hint="modprobe tun, as root")
    if os.geteuid() == 0:
        return
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise MissingError(
            f"a lab needs taps, and only root may open {_TUN} on this host", hint="run it as root"
        )
    root = own_root()
    with _locked(root):
        keeper = _kept(root) or _keep(root)
    _start_again(keeper, root)


def demand_root(why: str) -> None:
    """Raise MissingError for an ordinary user, also for one who is root in namespaces."""
    first, outside, _ = Path("/proc/self/uid_map").read_text().split()[:3]
    if (first, outside) != ("0", "0") or os.geteuid() != 0:
        raise MissingError(f"{why}: only root can make them", hint="run it as root")


def leave() -> None:
    """After the last lab of an ordinary user: end the keeper. For root nothing."""
    root = runtime_root()
    with contextlib.suppress(FileNotFoundError), _locked(root):
        if any(path.is_dir() for path in root.iterdir()):
            return
        if keeper := _kept(root):
            os.kill(keeper, signal.SIGKILL)
            (root / _KEEPER).unlink()
            root.rmdir()


def _start_again(keeper: int, root: Path) -> NoReturn:
    nsenter = program("nsenter")
    words = ["--preserve-credentials", "--user", "--mount", "--net", "--wd=" + str(Path.cwd())]
    command = [str(nsenter), f"--target={keeper}", *words, sys.executable, *sys.orig_argv[1:]]
    os.execve(nsenter, command, os.environ | {STATE_VARIABLE: str(root)})


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Two commands never start two keepers."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _kept(root: Path) -> int | None:
    """The keeper's process id, if it still runs; the time of its start tells it from others."""
    with contextlib.suppress(OSError, ValueError):
        pid, start = (root / _KEEPER).read_text().split()
        if _start_of(int(pid)) == start:
            return int(pid)
    return None


def _keep(root: Path) -> int:
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", _KEEP]
    process = subprocess.Popen(
        [str(program(unshare[0])), *unshare[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        said = stdout.readline().strip()
    if said != "kept":
        process.wait()
        raise MissingError(
            f"a lab needs namespaces, and this host refuses them: {said}", hint=_HINT
        )
    (root / _KEEPER).write_text(f"{process.pid} {_start_of(process.pid)}\n")
    return process.pid


def _start_of(pid: int) -> str:
    """When a process started, in clock ticks after the boot: field 22 of proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
