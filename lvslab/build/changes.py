"""What a bake did: the baked disk read back and compared with the base tree.

mke2fs writes the base disk with every inode's ctime at zero, and no write through the
kernel leaves ctime as it was; so an inode whose ctime is still zero was not touched, and
only the others are read and compared. The disk is read without mounting it: no root.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lvslab.core.errors import StageError

_CLEAN = 1  # ext4: s_state EXT4_VALID_FS
_NEEDS_RECOVERY = 4  # ext4: s_feature_incompat EXT4_FEATURE_INCOMPAT_RECOVER
_SKIPPED = frozenset(("/lost+found",))
_XATTR = "SCHILY.xattr."  # how tar names extended attributes (pax, as GNU tar and star do)


@dataclass(frozen=True)
class TreeEntry:
    """One path of a tree, all that matters of it but its times.

    `mode` has the permission bits, `link` is the target of a symbolic link, `sha256` the
    sum of a regular file's content, `device` the numbers of a device node.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    link: str = ""
    sha256: str = ""
    device: str = ""
    xattrs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TreeChange:
    """A path that the bake added, changed or removed; `old` is the base tree's, `new` the baked."""

    path: str
    what: Literal["added", "changed", "removed"]
    old: TreeEntry | None
    new: TreeEntry | None


_TAR_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}
_MODE_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def normal(name: str) -> str:
    """A tar member's name as an absolute path."""
    return "/" + name.removeprefix("./").strip("/")


def index(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Every member of a tree's tar by absolute path, the root left out."""
    return {path: member for member in tar if (path := normal(member.name)) not in ("/", "/.")}


def base_entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> TreeEntry:
    """What a member of the base tree is; a hard link is the file that it names."""
    target = tar.getmember(member.linkname) if member.islnk() else member
    content = tar.extractfile(target) if target.isreg() else None
    device = (
        f"{target.devmajor}:{target.devminor}" if target.isdev() and not target.isfifo() else ""
    )
    return TreeEntry(
        kind=_TAR_KINDS[target.type],
        mode=target.mode & 0o7777,
        uid=target.uid,
        gid=target.gid,
        link=target.linkname if target.issym() else "",
        sha256=hashlib.sha256(content.read()).hexdigest() if content else "",
        device=device,
        xattrs={
            key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape").hex()
            for key, value in target.pax_headers.items()
            if key.startswith(_XATTR)
        },
    )


def read(
    disk: Path, offset: int, base: Path, blobs: Path, progress: Callable[..., None]
) -> list[TreeChange]:
    """What the ext4 file system at `offset` bytes of the raw `disk` has that `base` has not.

    `base` is the tar of the base tree. The contents of added and changed files are kept
    in the folder `blobs` under their sha256. Raises StageError if the file system was not
    shut down cleanly.
    """
    with disk.open("rb") as raw, tarfile.open(base) as tar:
        from dissect.extfs import ExtFS  # late: its import takes longer than an unchanged build

        filesystem = ExtFS(Part(raw, offset))
        _demand_clean(filesystem)
        members = index(tar)
        found, seen = [], set()
        for done, (path, node) in enumerate(walk(filesystem.root, "")):
            seen.add(path)
            if done % 500 == 0:
                progress(done, len(members), "paths", "comparing")
            if change := _compare(tar, members.get(path), path, node, blobs):
                found.append(change)
        found += [
            TreeChange(path, "removed", base_entry(tar, member), None)
            for path, member in members.items()
            if path not in seen
        ]
    return sorted(found, key=lambda change: change.path)


def _compare(
    tar: tarfile.TarFile, member: tarfile.TarInfo | None, path: str, node: Any, blobs: Path
) -> TreeChange | None:
    if member is not None and node.inode.i_ctime == 0:
        return None
    new, content = _baked_entry(node)
    old = base_entry(tar, member) if member is not None else None
    if new == old:
        return None
    if content is not None:
        (blobs / new.sha256).write_bytes(content)
    return TreeChange(path, "changed" if old else "added", old, new)


def _demand_clean(filesystem: Any) -> None:
    block = filesystem.sb
    if not block.s_state & _CLEAN or block.s_feature_incompat & _NEEDS_RECOVERY:
        raise StageError(
            "the baked disk was not shut down cleanly",
            hint="run it again; if this stays so, read the bake's log",
        )


def walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every path below the inode `node` of an ext file system, whose own path is `path`."""
    for name, child in sorted(node.listdir().items()):
        below = f"{path}/{name}"
        if name in (".", "..") or below in _SKIPPED:
            continue
        yield below, child
        if stat.S_ISDIR(child.inode.i_mode):
            yield from walk(child, below)


def _baked_entry(node: Any) -> tuple[TreeEntry, bytes | None]:
    inode = node.inode
    mode = int(inode.i_mode)
    kind = _MODE_KINDS[stat.S_IFMT(mode)]
    content = node.open().read() if kind == "file" and node.size else b""
    entry = TreeEntry(
        kind=kind,
        mode=mode & 0o7777,
        uid=inode.i_uid | (inode.i_uid_high << 16),
        gid=inode.i_gid | (inode.i_gid_high << 16),
        link=node.link if kind == "link" else "",
        sha256=hashlib.sha256(content).hexdigest() if kind == "file" else "",
        device=_device(node) if "device" in kind else "",
        xattrs={attr.name: bytes(attr.value).hex() for attr in node.xattr},
    )
    return entry, content if kind == "file" else None


def _device(node: Any) -> str:
    """Device numbers as ext4 keeps them: old form in i_block[0], new form in i_block[1]."""
    old, new = (int.from_bytes(bytes(node.inode.i_block)[at : at + 4], "little") for at in (0, 4))
    number = old or new
    return f"{os.major(number)}:{os.minor(number)}"


class Part(io.RawIOBase):
    """A file seen from `offset` on: a partition of a disk."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file, self._offset, self._position = file, offset, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position in bytes of the part."""
        if whence == os.SEEK_CUR:
            position += self._position
        elif whence == os.SEEK_END:
            position += os.fstat(self._file.fileno()).st_size - self._offset
        self._position = position
        return position

    def tell(self) -> int:
        """The position in bytes of the part."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes from the position on; all that is left if negative."""
        data = os.pread(
            self._file.fileno(), size if size >= 0 else 1 << 30, self._offset + self._position
        )
        self._position += len(data)
        return data


def save(changes: list[TreeChange], path: Path) -> None:
    """Write changes as JSON, one a line."""
    path.write_text(
        "".join(json.dumps(asdict(change), sort_keys=True) + "\n" for change in changes)
    )


def load(path: Path) -> list[TreeChange]:
    """Read what `save` wrote."""

    def entry(value: dict[str, Any] | None) -> TreeEntry | None:
        return TreeEntry(**value) if value else None

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [TreeChange(r["path"], r["what"], entry(r["old"]), entry(r["new"])) for r in rows]
