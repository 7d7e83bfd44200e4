"""VMware's program `vmrun`: found on Linux, macOS and in WSL, run, and its failures told.

Source: what vmrun 1.17 (Workstation 16 and 17, Fusion 13) prints as its usage. It ends with
another status than 0 when a command fails, and says "Error: …" on its standard output; because
this was also seen with status 0, both are a failure. Its texts follow the host's language: no
other is read.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lvslab.core.errors import MissingError, StageError
from lvslab.core.procs import program, search_path

Product = Literal["ws", "fusion"]

_SECONDS = 120.0
_FUSION = (
    "/Applications/VMware Fusion.app/Contents/Public/vmrun",
    "/Applications/VMware Fusion.app/Contents/Library/vmrun",
)
_WINDOWS = (
    "/mnt/c/Program Files (x86)/VMware/VMware Workstation/vmrun.exe",
    "/mnt/c/Program Files/VMware/VMware Workstation/vmrun.exe",
)
_HINT = (
    "install VMware Workstation or Fusion (its Player has no vmrun), or put the folder of vmrun "
    "into PATH"
)
_VERSION = re.compile(r"vmrun version ([\d.]+(?: build-\d+)?)")
_ERROR = "Error:"
_HIDDEN = "***"


@dataclass(frozen=True)
class GuestLogin:
    """A user of the guests, for VMware's guest operations."""

    user: str
    password: str


@dataclass(frozen=True)
class Vmrun:
    """The program; `tell` is given each call in the place of running it (a dry run)."""

    path: str = "vmrun"
    product: Product = "ws"
    windows: bool = False
    tell: Callable[[list[str]], None] | None = None

    @classmethod
    def found(cls) -> Vmrun:
        """The vmrun of this host. Raises MissingError if there is none."""
        mac, wsl = sys.platform == "darwin", "microsoft" in platform.release().lower()
        in_path = [shutil.which(name, path=search_path()) for name in ("vmrun", "vmrun.exe")]
        standard = _FUSION if mac else _WINDOWS if wsl else ()
        for path in (*in_path, *standard):
            if path and os.access(path, os.X_OK):
                return cls(path, "fusion" if mac else "ws", windows=path.endswith(".exe"))
        raise MissingError("there is no vmrun on this host", hint=_HINT)

    @classmethod
    def for_showing(cls) -> Vmrun:
        """The vmrun of this host; one that cannot be run if there is none."""
        try:
            return cls.found()
        except MissingError:
            return cls()

    def dry(self, tell: Callable[[list[str]], None]) -> Vmrun:
        """One that only tells what it would be called with."""
        return replace(self, tell=tell)

    def version(self) -> str:
        """The version that it says in its usage text, as "1.17.0 build-24583834"."""
        words = [self.path]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        found = _VERSION.search((done.stdout + done.stderr).decode(errors="replace"))
        return found[1] if found else "unknown"

    def name_of(self, path: Path) -> str:
        """A file of this host as vmrun names it: in WSL by its Windows path."""
        if not self.windows:
            return os.path.realpath(path)
        done = subprocess.run(
            [program("wslpath"), "-w", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StageError(
                f"Windows does not see {path}",
                hint="put the folders on a drive of Windows (/mnt/c)",
            )
        return done.stdout.strip()

    def ask(
        self,
        command: str,
        *words: str,
        where: str = "",
        login: GuestLogin | None = None,
        timeout: float = _SECONDS,
    ) -> str:
        """Run a command to its end; what it prints. Raises StageError with vmrun's own words."""
        argv = self.words(command, *words, login=login)
        if self.tell:
            self.tell(shown(argv))
            return ""
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise StageError(
                f"vmrun {command} did not end within {timeout:.0f} s",
                where=where,
                hint="look whether VMware's window asks a question",
            ) from None
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if done.returncode or said.startswith(_ERROR):
            reason = said.removeprefix(_ERROR).strip() or f"status {done.returncode}"
            raise StageError(f"vmrun {command}: {reason}", where=where)
        return said

    def begin(self, command: str, *words: str) -> None:
        """Start a command whose end nobody waits for, also not that of this program."""
        argv = self.words(command, *words)
        if self.tell:
            self.tell(shown(argv))
            return
        none = subprocess.DEVNULL
        started = subprocess.Popen(
            argv, stdin=none, stdout=none, stderr=none, start_new_session=True
        )
        threading.Thread(target=started.wait, daemon=True).start()  # or it stays as a zombie

    def words(self, command: str, *words: str, login: GuestLogin | None = None) -> list[str]:
        """The command line of a call."""
        who = ["-gu", login.user, "-gp", login.password] if login else []
        return [self.path, "-T", self.product, *who, command, *words]


def shown(argv: list[str]) -> list[str]:
    """A call as it may be shown: the guests' password is left out."""
    hidden = argv.index("-gp") + 1 if "-gp" in argv else None
    return [_HIDDEN if at == hidden else word for at, word in enumerate(argv)]
