"""An OVA: a tar of the OVF, its manifest and the files that the OVF refers to.

Source: DMTF DSP0243 (OVF 1.1), sections 5.1 and 5.2: ustar, the descriptor first, then
the manifest, then the files in the order of References.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from lvslab.core.errors import StageError
from lvslab.core.files import atomic, sha256_file

OVF_NAMESPACE = "http://schemas.dmtf.org/ovf/envelope/1"
_MAX_MEMBER = 8 << 30


def write(ova: Path, ovf_name: str, ovf_text: str, files: Sequence[Path], mtime: int) -> None:
    """Write an OVA atomically; no file is held in memory.

    `files` must be the References of the OVF, in their order; `mtime` (seconds since the
    epoch) is the time of every member. The manifest is named after `ovf_name`.
    Raises StageError if the OVF and the files disagree or a file is too long for ustar.
    """
    wanted = referenced(ovf_text)
    if wanted != [file.name for file in files]:
        raise StageError(
            f"the OVF refers to {wanted}, the files are {[file.name for file in files]}",
            where=ovf_name,
        )
    for file in files:
        if file.stat().st_size >= _MAX_MEMBER:
            raise StageError("8 GiB or more do not fit a ustar archive", where=str(file))
    with (
        atomic(ova) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        _add_text(tar, ovf_name, ovf_text, mtime)
        _add_text(tar, manifest_name(ovf_name), manifest(ovf_name, ovf_text, files), mtime)
        for path in files:
            with path.open("rb") as content:
                tar.addfile(_member(path.name, path.stat().st_size, mtime), content)


def manifest_name(ovf_name: str) -> str:
    """The manifest's name: that of the OVF, ending in .mf."""
    return ovf_name.removesuffix(".ovf") + ".mf"


def manifest(ovf_name: str, ovf_text: str, files: Sequence[Path]) -> str:
    """The manifest: one line for each file; importers want no space before the bracket."""
    sums = [(ovf_name, hashlib.sha256(ovf_text.encode()).hexdigest())]
    sums += [(file.name, sha256_file(file)) for file in files]
    return "".join(f"SHA256({name})= {digest}\n" for name, digest in sums)


def referenced(ovf_text: str) -> list[str]:
    """The names in the References of an OVF, in order."""
    root = ElementTree.fromstring(ovf_text)
    return [
        file.attrib[f"{{{OVF_NAMESPACE}}}href"] for file in root.iter(f"{{{OVF_NAMESPACE}}}File")
    ]


def _add_text(tar: tarfile.TarFile, name: str, text: str, mtime: int) -> None:
    data = text.encode()
    tar.addfile(_member(name, len(data), mtime), io.BytesIO(data))


def _member(name: str, size: int, mtime: int) -> tarfile.TarInfo:
    """A member that says nothing of the host: uid and gid 0, no names, mode 0644."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, mtime, 0o644
    return member
