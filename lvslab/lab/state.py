"""What a running lab leaves on disk: one folder for each lab, named in one place."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvslab.core.errors import InputError
from lvslab.core.files import write_atomic

STATE_VARIABLE = "LVSLAB_STATE"
_SOCKET_PATH_LIMIT = 107  # unix(7): sun_path has 108 bytes, the last is NUL


def runtime_root() -> Path:
    """Where labs keep their state: `$LVSLAB_STATE`, or a folder of this user in /var/tmp.

    Not /tmp: disks and checkpoints take some GB, and on Debian 13 /tmp is the host's memory. Not
    $XDG_RUNTIME_DIR: it is in /run, and an ordinary user's lab has a /run of its own.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen)
    return default_root()


def default_root() -> Path:
    """Where labs of this user keep their state if no other folder is chosen."""
    return Path("/var/tmp") / f"lvslab-{os.getuid()}"


def own_root() -> Path:
    """The folder of `runtime_root`, made if it is missing and readable by this user only.

    Raises InputError if somebody else made it: anybody may make folders in /var/tmp.
    """
    root = runtime_root()
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700, parents=True)
    there = root.lstat()
    if there.st_uid != os.geteuid() or not stat.S_ISDIR(there.st_mode):
        raise InputError(
            "this folder belongs to somebody else",
            where=str(root),
            hint=f"remove it, or set {STATE_VARIABLE} to another folder",
        )
    return root


@dataclass(frozen=True)
class NodeFiles:
    """The files of one node."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The overlay that takes the node's writes and its checkpoints."""
        return self.folder / "disk.qcow2"

    @property
    def firmware_vars(self) -> Path:
        """UEFI's variables."""
        return self.folder / "vars.qcow2"

    @property
    def pid(self) -> Path:
        """QEMU writes its process id here."""
        return self.folder / "pid"

    @property
    def qmp(self) -> Path:
        """QEMU's monitor."""
        return self.folder / "qmp"

    @property
    def console(self) -> Path:
        """The first serial port, as a socket."""
        return self.folder / "console"

    @property
    def console_log(self) -> Path:
        """All that the first serial port ever said."""
        return self.folder / "console.log"

    @property
    def agent(self) -> Path:
        """The serial port COM3, where the node's agent listens."""
        return self.folder / "agent"

    @property
    def qemu_log(self) -> Path:
        """What QEMU itself said."""
        return self.folder / "qemu.log"


@dataclass(frozen=True)
class LabState:
    """The state folder of the lab called `name`."""

    name: str

    @property
    def folder(self) -> Path:
        """The folder; it exists while the lab does."""
        return runtime_root() / self.name

    def create(self, nodes: Iterable[str]) -> None:
        """Make the folder, readable by this user only (it holds the lab's SSH key), and its nodes'.

        Nothing else makes a folder here: who only looks must not bring back what `down` has
        removed. Raises InputError as `own_root` does.
        """
        (own_root() / self.name).mkdir(exist_ok=True, mode=0o700)
        for name in nodes:
            (self.folder / name).mkdir(exist_ok=True)

    def node(self, name: str) -> NodeFiles:
        """The files of node `name`. Raises InputError for too long a path."""
        folder = self.folder / name
        if len(str(folder / "console")) > _SOCKET_PATH_LIMIT:
            raise InputError(
                "this path is too long for a socket (unix(7))",
                where=str(folder / "console"),
                hint=f"set {STATE_VARIABLE} to a folder with a shorter path",
            )
        return NodeFiles(folder)

    @property
    def key(self) -> Path:
        """The lab's own SSH key; its public half is beside it with `.pub`."""
        return self.folder / "key"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the lab; outside the folder, which `down` removes."""
        return runtime_root() / f"{self.name}.lock"

    def is_locked(self) -> bool:
        """Whether somebody changes the lab now, from the kernel's list of locks (proc_locks(5)).

        Trying the lock would make the verb fail that takes it at the same moment.
        """
        try:
            inode, holder = self.lock.stat().st_ino, self.lock.read_text()
        except FileNotFoundError:
            return False
        lines = Path("/proc/locks").read_text().splitlines()
        return any(
            words[1] == "FLOCK" and words[4] == holder and words[5].endswith(f":{inode}")
            for words in map(str.split, lines)
            if "->" not in words  # who waits for a lock
        )

    def save(self, name: str, value: object) -> None:
        """Keep a JSON-able value under `name`."""
        write_atomic(self.folder / f"{name}.json", json.dumps(value, indent=1))

    def load(self, name: str) -> Any:
        """What `save` kept under `name`, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None
