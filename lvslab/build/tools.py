"""The tools that shape disks, at locked versions: unpacked from the pool, not installed.

Each program is started through the unpacked tree's own dynamic loader with the tree's
own libraries, so neither the host's versions nor its C library matter, and nothing needs
root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvslab.build.lockfile import Package
from lvslab.build.pool import Pool
from lvslab.core.events import Listener, silent
from lvslab.core.procs import run

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = f"{_LIBRARIES}/ld-linux-x86-64.so.2"


def unpack(
    pool: Pool, packages: Sequence[Package], folder: Path, progress: Callable[..., None]
) -> None:
    """Unpack the tools' packages into `folder`, files only: no script of a package runs."""
    paths = pool.get(packages, progress)
    # One after the other: packages share directories.
    for done, path in enumerate(paths, 1):
        run(["dpkg-deb", "--extract", path, folder], what="unpacking tools", clean=True)
        progress(done, len(paths), "packages", "unpacking")


@dataclass(frozen=True)
class Tools:
    """The unpacked tools in `folder`, run with a fixed locale, time zone and `epoch`."""

    folder: Path
    epoch: int
    listener: Listener = silent

    def path(self, inside: str) -> Path:
        """A file of the tools, for instance GRUB's modules."""
        return self.folder / inside

    def __call__(
        self, name: str, *words: str | Path, stdin: str | bytes | None = None, timeout: float = 600
    ) -> str:
        """Run a tool to its end and return its output. Raises StageError."""
        program = next(
            path for d in ("usr/bin", "usr/sbin") if (path := self.folder / d / name).exists()
        )
        return run(
            [
                self.folder / _LOADER,
                "--library-path",
                self.folder / _LIBRARIES,
                "--argv0",
                name,
                program,
                *words,
            ],
            what=name,
            stdin=stdin,
            timeout=timeout,
            listener=self.listener,
            clean=True,
            env={
                "SOURCE_DATE_EPOCH": str(self.epoch),
                "LC_ALL": "C.UTF-8",
                "TZ": "UTC",
                "GCONV_PATH": str(self.folder / _LIBRARIES / "gconv"),
                "MKE2FS_CONFIG": str(self.folder / "etc/mke2fs.conf"),
                "E2FSPROGS_FAKE_TIME": str(self.epoch),
                "MTOOLSRC": "/dev/null",
                "MTOOLS_SKIP_CHECK": "1",
            },
        )
