"""Programs in tests: build.py itself, and an image's own.

An image's programs run in its tree, in namespaces of their own, with the role's files.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from lvslab.render import RenderedFile

ROOT = Path(__file__).resolve().parents[1]


def build_py(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line as a user does."""
    argv = [sys.executable, "-m", "lvslab.cli", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=3000)


def loaded(program: Path) -> ModuleType:
    """A program of an image that is Python and has no `.py`, as a module (no bytecode is left)."""
    loader = SourceFileLoader(program.name.replace("-", "_"), str(program))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


_ENTER = r"""
set -e
tree=$1; interfaces=$2; shift 2
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay none -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount --rbind /proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
tar -x -C /mnt/root
for interface in $interfaces; do
    chroot /mnt/root ip link add "$interface" type veth peer name "p$interface"
    chroot /mnt/root ip link set "$interface" up
done
exec chroot /mnt/root env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended: status, and both outputs together."""

    status: int
    text: str


@dataclass(frozen=True)
class ProgramTree:
    """An unpacked tree of an image. It is never changed: what runs in it sees an overlay."""

    folder: Path

    def run(
        self,
        argv: Sequence[str],
        files: Mapping[str, RenderedFile] | None = None,
        interfaces: Sequence[str] = (),
    ) -> Ended:
        """Run a program of the tree, `files` laid over it, `interfaces` present and up."""
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        done = subprocess.run(
            ["unshare", *user, "--net", "--mount", "sh", "-c", _ENTER, "sh"]
            + [str(self.folder), " ".join(interfaces), *argv],
            input=_packed(files or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        return Ended(done.returncode, done.stdout.decode(errors="replace").strip())


def _packed(files: Mapping[str, RenderedFile]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, file in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            data = file.content.encode()
            info.size, info.mode = len(data), file.mode
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()
