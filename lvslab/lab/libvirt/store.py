"""What a lab keeps in a host's files: images for all labs, a folder for each node."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from lvslab.core.errors import StageError
from lvslab.lab.libvirt.domain import SEED, Placed
from lvslab.lab.libvirt.libvirt_host import Host

ROOT = "/var/lib/lvslab"
"""The folder on a host below which everything is."""

IMAGES = f"{ROOT}/images"
"""Raw disks, which stay there: the next lab needs them again."""

_SECONDS = 300.0


def image_id(raw: Path) -> str:
    """The name of a raw disk in the cache: its folder has the id of its content."""
    return raw.parent.name


def image(identity: str) -> str:
    """The path of an image on a host."""
    return f"{IMAGES}/{identity}.raw"


def lab_folder(lab: str) -> str:
    """The folder of a lab on a host; `down` removes it."""
    return f"{ROOT}/{lab}"


def script(
    host: Host, text: str, *, what: str, stdin: bytes | None = None, alone: bool = False
) -> str:
    """Run a shell script that changes what a lab has on a host; its output.

    Who is killed here does not end a script there. So one that removes runs `alone`: it waits for
    those that make. Raises StageError as `Host.run`.
    """
    kind = "-x" if alone else "-s"
    held = f"export LC_ALL=C; mkdir -p {ROOT} && exec 9<{ROOT} && flock {kind} 9 || exit\n"
    return host.run(["sh", "-c", held + text], what=what, stdin=stdin, timeout=_SECONDS)


def has(host: Host, path: str) -> bool:
    """Whether there is such a file on a host."""
    return bool(those_there(host, [path]))


def those_there(host: Host, paths: Sequence[str]) -> list[str]:
    """Those of some files that are on a host."""
    words = f'for path in {shlex.join(paths)}; do [ ! -e "$path" ] || echo "$path"; done'
    return host.run(["sh", "-c", words], what="looking for files").splitlines()


def put_image(host: Host, raw: Path, lab: str) -> str:
    """The path of a raw disk on a host, which is copied there once."""
    there = image(image_id(raw))
    if not has(host, there):
        arriving = _arriving(host, lab, image_id(raw))
        host.copy(raw, arriving)
        _arrived(host, f"{arriving}/{raw.name}", there)
    return there


def pass_image(source: Host, target: Host, identity: str, lab: str) -> str:
    """The same, from one host to another."""
    there = image(identity)
    if not has(target, there):
        arriving = _arriving(target, lab, identity)
        source.send(IMAGES, [Path(there).name], target, arriving)
        _arrived(target, f"{arriving}/{Path(there).name}", there)
    return there


def _arriving(host: Host, lab: str, identity: str) -> str:
    """A folder for an image until it is whole; it is the lab's, so `down` removes it."""
    folder = f"{lab_folder(lab)}/arriving/{identity}"
    _folders(host, IMAGES, folder)
    return folder


def _arrived(host: Host, path: str, there: str) -> None:
    host.run(["mv", path, there], what="keeping an image")
    remove(host, str(Path(path).parent))


def make_folder(host: Host, placed: Placed) -> None:
    """Make a node's folder."""
    _folders(host, placed.folder)


def node_files(seed: Path, key: Path, where: str) -> dict[str, bytes]:
    """What a node's folder gets: its seed, and the lab's SSH key if it is there (`takeover`).

    Raises StageError if the seed cannot be read.
    """
    try:
        found = {SEED: seed.read_bytes()}
    except OSError as error:
        raise StageError(f"its seed: {error.strerror}", where=where) from None
    keys = (key, key.with_suffix(".pub"))
    return found | {file.name: file.read_bytes() for file in keys if file.exists()}


def read(host: Host, path: str) -> bytes:
    """The bytes of a file of a host."""
    return base64.b64decode(host.run(["base64", path], what=f"reading {path}"))


def console(host: Host, placed: Placed, where: str) -> bytes:
    """All that a node's first serial port said, on this host and on those before."""
    logs = f"{placed.console_before} {placed.console_log}"
    words = ["sh", "-c", f"cat {logs} 2>/dev/null || true"]
    return host.run(words, what="reading the console", where=where).encode()


def join_consoles(host: Host, placed: Placed) -> None:
    """Put all that a node's first serial port said into the log of the hosts before."""
    folder = placed.folder
    words = f"cat {folder}/console.before {folder}/console.log 2>/dev/null > {folder}/joined; "
    words += f"mv {folder}/joined {folder}/console.before"
    host.run(["sh", "-c", words], what="keeping the console")


def remove(host: Host, *paths: str) -> None:
    """Remove files and folders of a host."""
    host.run(["rm", "-rf", *paths], what="removing the lab's files")


def _folders(host: Host, *paths: str) -> None:
    host.run(["mkdir", "-p", *paths], what="making the lab's folders")


def base_of(host: Host, placed: Placed, where: str) -> str:
    """The id of the image below a node's overlay."""
    words = ["qemu-img", "info", "--force-share", "--output=json", placed.disk]
    said = json.loads(host.run(words, what="asking for its image", where=where))
    return Path(said["backing-filename"]).stem
