"""What is different about the second build, and must not matter."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.build.bake import Circumstances
from lvslab.core.errors import LabError
from lvslab.core.procs import run

_NOBODY = 65534
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
# A zone in the form of POSIX (TZ): that of Kiritimati, whether the host has tzdata or not.
_ZONE, _HOST_NAME, _UMASK = "LINT-14", "elsewhere", 0o077
# From the one that differs most (its small i has no capital I) to those that every host has.
_LOCALES = ("tr_TR.UTF-8", "az_AZ.UTF-8", "lt_LT.UTF-8", "de_DE.UTF-8", "C.UTF-8", "C")
# What a user may have set, and what can change what tar, zstd, xz or a script of Perl writes.
_HOSTILE = {
    "TAR_OPTIONS": "--mode=a+w",
    "ZSTD_CLEVEL": "2",
    "XZ_DEFAULTS": "-1",
    "PERL5OPT": "-Mutf8",
    "SOURCE_DATE_EPOCH": "1",
}
DAYS_LATER = 500
_CIRCUMSTANCES = Circumstances(
    mac="52:54:00:fe:dc:ba", memory_mib=1536, cpus=1, days_later=DAYS_LATER
)

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
    """All conditions that this host can change; for those that it cannot, the reason.

    `work` is the folder of the second build, `jobs` the first build's number.
    """
    root = os.geteuid() == 0
    user, no_user = _user(root)
    no_name = "" if root else "only root may have another host name for a process"
    locales = _locales(os.environ)
    usual, cores = Circumstances(), os.cpu_count() or 1
    shown = (
        Condition("folder", str(Path(__file__).parents[3]), str(work)),
        Condition("user", str(os.geteuid()), str(_NOBODY), no_user),
        Condition("time zone", time.tzname[0], _ZONE),
        Condition("locale", *locales),
        Condition("environment", "the user's", f"{', '.join(_HOSTILE)} set as well"),
        Condition("umask", f"{_umask():04o}", f"{_UMASK:04o}"),
        Condition("host name", socket.gethostname(), _HOST_NAME, no_name),
        Condition("clock that Python sees", "now", f"{DAYS_LATER} days later"),
        Condition("clock of the bake", "the lock's date", f"{DAYS_LATER} days later"),
        Condition("network card", usual.mac, _CIRCUMSTANCES.mac),
        Condition("memory of the bake", f"{usual.memory_mib}", f"{_CIRCUMSTANCES.memory_mib}"),
        Condition("processors of the bake", f"{usual.cpus}", f"{_CIRCUMSTANCES.cpus}"),
        Condition("stages at the same time", f"{jobs}", f"{jobs + 1}"),
        Condition("cores that Python sees", f"{cores}", f"{cores + 1}"),
        Condition("order of files in folders", "the file system's", "the reverse"),
        Condition("order of sets in Python", "random", "another"),
    )
    environment = {"TZ": _ZONE, "LC_ALL": locales[1], "LANG": locales[1], "PYTHONHASHSEED": "20"}
    environment |= _HOSTILE
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


def _locales(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """The locale of `environment`, another one, and why there is none (then the same again).

    Only what is installed counts: programs take C for a locale that is not.
    """
    try:
        names = run(["locale", "-a"], what="asking for locales").split()
    except LabError:
        names = []
    installed = {_plain(name) for name in ["C", *names]}
    asked = [environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    first = next((name for name in asked if name), "C")
    if _plain(first) not in installed:
        first = "C"
    for name in _LOCALES:
        if _plain(name) in installed - {_plain(first)}:
            return first, name, ""
    return first, first, "this host has no other locale"


def _plain(name: str) -> str:
    """A locale's name as it is compared: `C.utf8` is C.UTF-8, and POSIX is C."""
    plain = name.lower().replace("-", "")
    return "c" if plain == "posix" else plain


def _umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)
