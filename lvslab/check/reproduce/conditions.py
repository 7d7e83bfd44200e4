"""What is different about the second build, and must not matter."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.build.bake import Circumstances
from lvslab.core.errors import LabError
from lvslab.core.procs import run

_NOBODY = 65534
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
_ZONE, _LOCALE, _HOST_NAME, _UMASK = "Pacific/Kiritimati", "tr_TR.UTF-8", "elsewhere", 0o077
_CIRCUMSTANCES = Circumstances(mac="52:54:00:fe:dc:ba", memory_mib=1536, cpus=1)
DAYS_LATER = 500

# Another user's process that may still read this Python and its packages, wherever they are.
AS_NOBODY = (
    "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One thing that differs: its name, what it was and is; `why_not` if it stays the same."""

    name: str
    first: str
    second: str
    why_not: str = ""


@dataclass(frozen=True)
class Conditions:
    """How the second build runs.

    `user` is the numeric id to run as (None: ours), `host_name` None if it cannot be
    another, `environment` what the process gets besides ours.
    """

    shown: tuple[Condition, ...]
    jobs: int
    user: int | None = None
    host_name: str | None = None
    umask: int = _UMASK
    environment: dict[str, str] = field(default_factory=dict)
    circumstances: Circumstances = _CIRCUMSTANCES


def choose(work: Path, jobs: int) -> Conditions:
    """Everything different that this host can do; what it cannot is said, with the reason.

    `work` is the folder of the second build, `jobs` the first build's number.
    """
    root = os.geteuid() == 0
    user, no_user = _user(root)
    no_name = "" if root else "only root may have another host name for a process"
    usual, cores = Circumstances(), os.cpu_count() or 1
    shown = (
        Condition("folder", str(Path(__file__).parents[3]), str(work)),
        Condition("user", str(os.geteuid()), str(_NOBODY), no_user),
        Condition("time zone", time.tzname[0], _ZONE),
        Condition("locale", os.environ.get("LC_ALL", os.environ.get("LANG", "C")), _LOCALE),
        Condition("umask", f"{_umask():04o}", f"{_UMASK:04o}"),
        Condition("host name", socket.gethostname(), _HOST_NAME, no_name),
        Condition("clock that Python sees", "now", f"{DAYS_LATER} days later"),
        Condition("network card", usual.mac, _CIRCUMSTANCES.mac),
        Condition("memory of the bake", f"{usual.memory_mib}", f"{_CIRCUMSTANCES.memory_mib}"),
        Condition("processors of the bake", f"{usual.cpus}", f"{_CIRCUMSTANCES.cpus}"),
        Condition("stages side by side", f"{jobs}", f"{jobs + 1}"),
        Condition("cores that Python sees", f"{cores}", f"{cores + 1}"),
        Condition("order of files in folders", "the file system's", "the reverse"),
        Condition("order of sets in Python", "random", "another"),
    )
    environment = {"TZ": _ZONE, "LC_ALL": _LOCALE, "LANG": _LOCALE, "PYTHONHASHSEED": "20"}
    return Conditions(
        shown=shown,
        jobs=jobs + 1,
        user=user,
        host_name=_HOST_NAME if root else None,
        environment=environment,
    )


def _user(root: bool) -> tuple[int | None, str]:
    """The other user's id, or None and why there is none."""
    if not root:
        return None, "only root may start a process of another user"
    if missing := [path.name for path in _SUBORDINATE if not path.is_file()]:
        return None, f"there is no /etc/{missing[0]} (package uidmap)"
    try:
        run(["newuidmap"], what="looking for user namespaces", ok=range(256))
        run([*AS_NOBODY, sys.executable, "-c", "import lvslab.make"], what="asking for a user")
    except LabError as error:
        return None, error.message.splitlines()[0]
    return _NOBODY, ""


def _umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)
