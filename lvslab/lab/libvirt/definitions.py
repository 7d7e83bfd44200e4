"""The domains of a host, those of a lab in one command: renewed, defined with files, forgotten.

Each command to a host costs a process here and a session there, so what a lab needs of a host goes
there as one script, with all files in one archive.
"""

from __future__ import annotations

import io
import shlex
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lvslab.core.errors import LabError
from lvslab.lab.libvirt import store
from lvslab.lab.libvirt.domain import Placed
from lvslab.lab.libvirt.libvirt_host import VIRSH, Host

_XML = "domain.xml"
_VIRSH = shlex.join(VIRSH)

# What ends the domains of $ours, and lets libvirt forget them. One virsh does all: it goes on after
# a command that fails, as `destroy` of a domain that is off does. So it is asked what is left.
_UNDEFINE = f"""\
known=$({_VIRSH} list --all --uuid) || exit
tasks= gone=
for uuid in $ours; do
    case "$known" in *"$uuid"*)
        tasks="$tasks destroy $uuid; undefine $uuid --snapshots-metadata;" gone="$gone $uuid" ;;
    esac
done
if [ "$gone" ]; then
    said=$({_VIRSH} "$tasks echo" 2>&1)
    known=$({_VIRSH} list --all --uuid) || exit
    for uuid in $gone; do
        case "$known" in *"$uuid"*) echo "$said" >&2; exit 1 ;; esac
    done
fi
"""


@dataclass(frozen=True)
class Definition:
    """What makes a node's domain: its place, its XML, and the files in its folder by name."""

    node: str
    placed: Placed
    text: str
    files: Mapping[str, bytes]


def define(host: Host, wanted: Sequence[Definition]) -> None:
    """Bring the files of nodes to their host, readable by root alone, and define their domains.

    Raises StageError with libvirt's words that names the node.
    """
    paths = [f"{one.placed.folder}/{_XML}" for one in wanted]
    tasks = "; ".join(f"define {path}" for path in paths)
    script = (
        "tar --no-same-owner -C / -xf - || exit\n"
        f"said=$({_VIRSH} {shlex.quote(tasks)} 2>&1)\n"
        f"rm -f {shlex.join(paths)}\n"
        # of its commands virsh's status tells only how the last one ended
        'case "$said" in *error:*) echo "$said" >&2; exit 1 ;; esac\n'
    )
    with _blaming({one.node: one.placed for one in wanted}):
        store.script(host, script, what="virsh define", stdin=_archive(wanted))


def renew(host: Host, wanted: Mapping[str, Placed], base_of: Mapping[str, str]) -> list[str]:
    """Give nodes fresh overlays over their images, and let libvirt forget what they were.

    `base_of`: node to the path of its image. Returns the images that are not on the host: then
    nothing was done. Raises StageError that names the node.
    """
    script = f"missing=\nfor base in {shlex.join(set(base_of.values()))}; do\n"
    script += '    [ -e "$base" ] || missing="$missing $base"\ndone\n'
    script += 'if [ "$missing" ]; then echo "$missing"; exit; fi\n'
    script += _undefine(wanted.values())
    for node, placed in wanted.items():
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base_of[node]]
        script += f"mkdir -p {placed.folder} && {shlex.join([*words, placed.disk])} || exit\n"
    with _blaming(wanted):
        return store.script(host, script, what="making overlays").split()


def forget(host: Host, placed: Sequence[Placed], *paths: str) -> None:
    """Remove domains and their folders from a host, and `paths`; what is not there is no error."""
    folders = shlex.join([*(one.folder for one in placed), *paths])
    script = f"{_undefine(placed)}rm -rf {folders}\n"
    store.script(host, script, what="removing the lab's domains", alone=True)


def _undefine(placed: Iterable[Placed]) -> str:
    return f"ours={shlex.quote(' '.join(one.uuid for one in placed))}\n{_UNDEFINE}"


def _archive(wanted: Sequence[Definition]) -> bytes:
    packed, now = io.BytesIO(), time.time()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for one in wanted:
            for name, content in {**one.files, _XML: one.text.encode()}.items():
                entry = tarfile.TarInfo(f"{one.placed.folder}/{name}".removeprefix("/"))
                entry.size, entry.mode, entry.mtime = len(content), 0o600, now
                archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@contextmanager
def _blaming(placed: Mapping[str, Placed]) -> Iterator[None]:
    """An error is that of the node whose folder it names, or of the only one."""
    try:
        yield
    except LabError as error:
        named = [node for node, one in placed.items() if f"{one.folder}/" in error.message]
        if len(found := named or list(placed)) == 1:
            error.where = found[0]
        raise
