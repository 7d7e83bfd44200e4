"""What a teacher hands out: one zip of the VMware folders, the host's scripts and the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lvslab.export.folders import base_name
from lvslab.formats import deflated, zip

_READ_ONLY = 0o444
_EXECUTABLE = 0o100


def write(
    path: Path, top: str, folder: Path, bases: Mapping[str, tuple[Path, Path]], epoch: int
) -> None:
    """Write the zip of the VMware folder `folder`, all of it below the folder `top`, atomically.

    `bases` are the base disks by role, each as monolithicSparse and as streamOptimized VMDK.
    The same files and epoch give the same bytes on every host. Raises StageError, OSError.
    """

    def members() -> Iterator[zip.ZipMember]:
        for role, (sparse, stream) in sorted(bases.items()):
            yield deflated.sparse_member(f"{top}/{base_name(role)}", sparse, stream, _READ_ONLY)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                mode = 0o755 if file.stat().st_mode & _EXECUTABLE else 0o644
                name = file.relative_to(folder).as_posix()
                yield zip.member(f"{top}/{name}", file.read_bytes(), mode)

    zip.write(path, members(), epoch)
