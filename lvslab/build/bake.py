"""The bake: Packer boots the base disk with the role's user-data and the role proves itself.

What goes wrong inside the guest is shown at once, with the guest's own last lines,
instead of waiting for Packer's time-out.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lvslab.build import accel, packer
from lvslab.core.errors import StageError
from lvslab.core.events import Listener, LogLine
from lvslab.core.procs import kill_group, last_lines, program, run, stop_if_asked
from lvslab.render.packer_template import BakeTemplate, bake_template
from lvslab.render.texts import Seed

USER = "bake"
_SSH_SECONDS = 900
_WHOLE_SECONDS = 1800
_LEAST_ROOM = 64 << 10  # bytes: a grain of what QEMU writes at once

# What a guest prints that will never reach SSH.
_FATAL = re.compile(
    r"Kernel panic|No init found|Cannot open access to console|You are in emergency mode|"
    r"ALERT!.*does not exist|No bootable device|GRUB.*rescue>"
)
_FAILED_CHECK = "FAIL "  # how the role's assertions begin a line
# What Packer says, and what that means to the person who waits.
_STEPS = (
    ("Starting VM", "booting"),
    ("Connected to SSH", "cloud-init"),
    ("Provisioning with shell script", "cloud-init"),
    ("checking the role", "checking the role"),
    ("Gracefully halting", "shutting down"),
    ("Converting hard drive", "reading the disk"),
)


@dataclass(frozen=True)
class Circumstances:
    """What differs from bake to bake and must not matter: card, size, processors and clock.

    `days_later` is how far the guest's clock is ahead of the lock's date; never behind it, or
    files of packages would be of the future.
    """

    mac: str = "52:54:00:12:34:56"
    memory_mib: int = 1024
    cpus: int = 2
    days_later: int = 0


@dataclass(frozen=True)
class Bake:
    """One bake. `epoch` is the lock's date, `logs` keeps what was said."""

    role: str
    disk: Path
    packer: Path
    accelerator: accel.Accelerator
    epoch: int
    assertions: str
    seed: Callable[[str], Seed]
    write_seed: Callable[[Seed, Path], None]
    logs: Path
    circumstances: Circumstances = Circumstances()

    def run(self, work: Path, listener: Listener, progress: Callable[..., None]) -> Path:
        """Bake in the empty folder `work` and return the baked raw disk.

        Raises StageError with the guest's last lines and the path of the whole log.
        """
        template = self._prepare(work)
        packer.prepare(self.packer, work)
        packer.validate(self.packer, template)
        log, serial = work / "packer.log", work / "serial.log"
        process = packer.start(self.packer, template, log)
        try:
            self._follow(process, log, serial, listener, progress)
        finally:
            kill_group(process)
            self._keep(log, serial)
        return work / "output" / "disk.raw"

    def _prepare(self, work: Path) -> Path:
        key = work / "key"
        run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", USER, "-f", key],
            what="making the bake's key",
        )
        self.write_seed(self.seed(key.with_suffix(".pub").read_text()), work / "seed.iso")
        assertions = work / "assertions"
        assertions.write_text(self.assertions)
        # Named differently from the output, or Packer copies the disk with its holes filled.
        base = work / "base.img"
        base.symlink_to(self.disk)
        template = work / "bake.json"
        template.write_text(
            bake_template(
                BakeTemplate(
                    role=self.role,
                    qemu=packer.leashed(program(accel.QEMU), work / "qemu"),
                    accelerator=self.accelerator,
                    disk=base,
                    seed=work / "seed.iso",
                    output=work / "output",
                    serial=work / "serial.log",
                    assertions=assertions,
                    private_key=key,
                    user=USER,
                    cpus=self.circumstances.cpus,
                    memory_mib=self.circumstances.memory_mib,
                    mac=self.circumstances.mac,
                    epoch=self.epoch + self.circumstances.days_later * 86400,
                    timeout_seconds=_SSH_SECONDS,
                )
            )
        )
        return template

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        serial: Path,
        listener: Listener,
        progress: Callable[..., None],
    ) -> None:
        """Watch Packer and the guest's console until Packer ends; raise when either failed."""
        deadline, step = time.monotonic() + _WHOLE_SECONDS, 0
        packer_lines, guest_lines = _Tail(log), _Tail(serial)
        progress(0, len(_STEPS), "steps", "starting Packer")
        while True:
            stop_if_asked()
            ended = process.poll() is not None
            for line in packer_lines.new():
                text = _plain(line)
                listener(LogLine(f"packer {self.role}", text))
                for number, (sign, note) in enumerate(_STEPS, 1):
                    if sign in text and number > step:
                        step = number
                        progress(step, len(_STEPS), "steps", note)
            for line in guest_lines.new():
                listener(LogLine(f"guest {self.role}", line))
                if _FATAL.search(line):
                    raise self._failure("the guest cannot start", packer_lines, guest_lines)
            if ended:
                break
            if _full(log.parent):  # QEMU stops the guest and says nothing
                raise self._failure(os.strerror(errno.ENOSPC), packer_lines, guest_lines)
            if time.monotonic() > deadline:
                raise self._failure(f"not done after {_WHOLE_SECONDS} s", packer_lines, guest_lines)
            time.sleep(0.2)
        if process.returncode != 0:
            raise self._failure("Packer failed", packer_lines, guest_lines)

    def _failure(self, what: str, packer_lines: _Tail, guest_lines: _Tail) -> StageError:
        lines = [_plain(line) for line in packer_lines.kept]
        said = "\n".join([*(line for line in lines if _FAILED_CHECK in line), *lines[-6:]])
        guest = "\n".join(guest_lines.kept)
        return StageError(
            f"{what}\n  Packer's last lines:{last_lines(said, 20)}"
            f"\n  the guest's last lines:{last_lines(guest, 10)}",
            where=f"bake {self.role}",
            log=self.logs / f"bake-{self.role}.log",
        )

    def _keep(self, log: Path, serial: Path) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"bake-{self.role}.log").open("wb") as out:
            for path in (log, serial):
                if path.exists():
                    with path.open("rb") as part:
                        shutil.copyfileobj(part, out)


def _full(folder: Path) -> bool:
    """Whether nothing can be written where `folder` is; root may use what is kept for it."""
    room = os.statvfs(folder)
    return (room.f_bfree if os.geteuid() == 0 else room.f_bavail) * room.f_frsize < _LEAST_ROOM


class _Tail:
    """The lines that a growing file has gained since last asked; the last ones are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[str] = []
        self._offset = 0
        self._rest = b""

    def new(self) -> list[str]:
        """The whole lines that are new."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        texts = [_clean(line.decode(errors="replace")) for line in lines]
        self.kept = [*self.kept, *filter(None, texts)][-200:]
        return texts


def _clean(line: str) -> str:
    """A line of a terminal without its control sequences (ECMA-48) and carriage returns."""
    return re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()].|.)|[\x00-\x08\x0b-\x1f]", "", line)


def _plain(line: str) -> str:
    """The text of a line of Packer's machine-readable output: time,target,type,data...

    Source: Packer's documentation, "Machine-Readable Output".
    """
    parts = line.split(",", 4)
    text = parts[4] if len(parts) == 5 and parts[2] == "ui" else line
    for escaped, real in (("%!(PACKER_COMMA)", ","), ("\\n", " "), ("\\r", "")):
        text = text.replace(escaped, real)
    return text
