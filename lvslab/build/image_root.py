"""The programs of an image, run on this host: they read what a seed is to bring.

They run in the image's own tree with files laid over it, in namespaces of their own: a mount
namespace with an overlay that is thrown away, and a network namespace. Root is not needed.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.procs import program, run
from lvslab.render.texts import RenderedFile

_SECONDS = 300
# Devices are the host's; the rest is large, and no program needs it to read a configuration.
_LEFT_OUT = ("./dev/*", "./boot/*", "./usr/lib/modules/*", "./usr/lib/firmware/*")
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
    """How a program ended: its status, and both outputs together."""

    status: int
    text: str


@dataclass(frozen=True)
class ImageRoot:
    """An unpacked tree of an image. It is never changed: what runs in it sees an overlay."""

    folder: Path

    def run(
        self,
        argv: Sequence[str],
        files: Mapping[str, RenderedFile] | None = None,
        interfaces: Sequence[str] = (),
    ) -> Ended:
        """Run a program of the tree as root of its namespaces.

        `files` are laid over the tree, `interfaces` are present and up.
        """
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        done = subprocess.run(
            [program("unshare"), *user, "--net", "--mount", "sh", "-c", _ENTER, "sh"]
            + [str(self.folder), " ".join(interfaces), *argv],
            input=_packed(files or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
        )
        return Ended(done.returncode, done.stdout.decode(errors="replace").strip())


def unpack(tar: Path, folder: Path) -> None:
    """Unpack what an image's programs need of a tree's tar. Raises StageError."""
    folder.mkdir()
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    run(
        ["tar", "--extract", "--no-same-owner", *left_out, "-C", folder, "-f", tar],
        what="unpacking the image's programs",
    )


def _packed(files: Mapping[str, RenderedFile]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, file in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            data = file.content.encode()
            info.size, info.mode = len(data), file.mode
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()
