"""What a teacher hands out: one zip of the VMware folders, the host's scripts and the sheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from lvslab.export.folders import base_name
from lvslab.formats import deflated, zip

_READ_ONLY = 0o444
_EXECUTABLE = 0o100
_PACKED, _SIZES = "disk.deflate", "disk.json"


def pack(sparse: Path, stream: Path, folder: Path) -> None:
    """Deflate a base disk into `folder`, once for the zips of all labs.

    `sparse` and `stream` are the disk as monolithicSparse and as streamOptimized VMDK. Raises
    StageError if the two do not hold the same grains.
    """
    member = deflated.sparse_member("", sparse, stream, _READ_ONLY)
    with (folder / _PACKED).open("wb") as out:
        assert not isinstance(member.deflated, Path)
        out.writelines(member.deflated)
    (folder / _SIZES).write_text(json.dumps({"size": member.size, "crc": member.crc}))


def _packed(name: str, folder: Path) -> zip.ZipMember:
    sizes = json.loads((folder / _SIZES).read_text())
    return zip.ZipMember(name, _READ_ONLY, sizes["size"], sizes["crc"], folder / _PACKED)


def write(path: Path, top: str, folder: Path, bases: Mapping[str, Path], epoch: int) -> None:
    """Write the zip of the VMware folder `folder`, all of it below the folder `top`, atomically.

    `bases` are the folders of the packed base disks, by role. The same files and epoch give the
    same bytes on every host. Raises StageError, OSError.
    """

    def members() -> Iterator[zip.ZipMember]:
        for role, packed in sorted(bases.items()):
            yield _packed(f"{top}/{base_name(role)}", packed)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                mode = 0o755 if file.stat().st_mode & _EXECUTABLE else 0o644
                name = file.relative_to(folder).as_posix()
                yield zip.member(f"{top}/{name}", file.read_bytes(), mode)

    zip.write(path, members(), epoch)
