"""The difference policy, default-deny: what of a bake ships.

Every path that a bake added, changed or removed is declared by the role (`keep`) or
handled by a rule with its reason (`handle`). Anything else stops the build. What ships
is the base tree with the declared changes, all of them with one time.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from lvslab.build.changes import TreeChange, TreeEntry, base_entry, index, normal
from lvslab.core.errors import StageError
from lvslab.model.role import Declared, Handled, RoleSpec
from lvslab.render.texts import RenderedFile

ChangeRule = Literal["keep", "drop", "base", "empty", "rewrite", "undeclared"]
SHIPS: tuple[ChangeRule, ...] = ("keep", "empty", "rewrite")
"""The rules with which something of the bake ships."""
_BLOCK = 512
_SHOWN_LINES = 12
_FOLDER, _EMPTY = TreeEntry("directory", 0o755, 0, 0), TreeEntry("file", 0o644, 0, 0)


@dataclass(frozen=True)
class Ruling:
    """What happens to a change, and why; `undeclared` stops the build.

    `handled` is the role's own entry, where one decides.
    """

    change: TreeChange
    rule: ChangeRule
    why: str
    handled: Handled | None = None


def judge(
    changes: Sequence[TreeChange], spec: RoleSpec, own: Mapping[str, RenderedFile]
) -> list[Ruling]:
    """The verdict on every change.

    `own` are the files that the role renders: they ship if the bake wrote just that text
    with just that mode. Then a path named in full counts before a pattern, keep before handle.
    """
    rules: list[Declared | Handled] = [*spec.keep, *spec.handle]
    verdicts: list[Ruling] = []
    for change in changes:
        if change.path in own:
            fits: ChangeRule = "keep" if _as_rendered(change, own[change.path]) else "undeclared"
            verdicts.append(Ruling(change, fits, "a file of the role"))
            continue
        named = [entry for entry in rules if change.path in entry.paths]
        matching = named or [entry for entry in rules if _matches(entry, change)]
        verdicts.append(
            _verdict(change, matching[0]) if matching else Ruling(change, "undeclared", "")
        )
    return _with_folders(verdicts)


def _verdict(change: TreeChange, entry: Declared | Handled) -> Ruling:
    if isinstance(entry, Declared):
        return Ruling(change, "keep", entry.why)
    # What of a change must be a regular file; a file that is not there can be emptied.
    sides: dict[str, tuple[TreeEntry | None, ...]] = {
        "empty": (change.old or _EMPTY, change.new or _EMPTY),
        "rewrite": (change.new,),
    }
    if any(side is None or side.kind != "file" for side in sides.get(entry.rule, ())):
        return Ruling(change, "undeclared", f"the rule `{entry.rule}` is for regular files")
    return Ruling(change, entry.rule, entry.why, entry)


def _as_rendered(change: TreeChange, file: RenderedFile) -> bool:
    digest = hashlib.sha256(file.content.encode()).hexdigest()
    return change.new == TreeEntry("file", file.mode, 0, 0, sha256=digest)


def _matches(entry: Declared | Handled, change: TreeChange) -> bool:
    """fnmatch(3) without FNM_PATHNAME, as dpkg's path-exclude; `X/*` means a new folder X too."""
    if any(fnmatch.fnmatchcase(change.path, pattern) for pattern in entry.paths):
        return True
    return change.what == "added" and f"{change.path}/*" in entry.paths


def _with_folders(verdicts: list[Ruling]) -> list[Ruling]:
    """New folders that nobody declared ship with what is kept below them, if they are plain.

    Another mode, owner or attribute could open what is below to others: that is declared.
    """
    kept = {verdict.change.path for verdict in verdicts if verdict.rule == "keep"}

    def settled(verdict: Ruling) -> Ruling:
        change = verdict.change
        if change.old is None and change.new == _FOLDER and verdict.rule == "undeclared":
            below = f"{change.path}/"
            if any(path.startswith(below) for path in kept):
                return Ruling(change, "keep", "folder of declared files")
        return verdict

    return [settled(verdict) for verdict in verdicts]


def demand_declared(verdicts: Sequence[Ruling], role: str, base: Path, blobs: Path) -> None:
    """Raise StageError that names every undeclared change, shows it, and says what to write."""
    fitting = [_fitting(verdict, blobs) for verdict in verdicts]
    stray = [verdict for verdict in fitting if verdict.rule == "undeclared"]
    if not stray:
        return
    with tarfile.open(base) as tar:
        shown = "\n".join(
            f"    {stated(verdict)}"
            + "".join(
                f"\n        {line}"
                for line in difference(verdict.change, tar, blobs)[:_SHOWN_LINES]
            )
            for verdict in stray
        )
    raise StageError(
        f"the bake changed {len(stray)} path(s) that the role does not declare:\n{shown}",
        where=f"roles/{role}/role.yaml",
        hint="declare what should ship under `keep: [{why: ..., paths: [...]}]`, and what should "
        "not under `handle: [{rule: drop|base|empty|rewrite, why: ..., paths: [...]}]`",
    )


def _fitting(verdict: Ruling, blobs: Path) -> Ruling:
    """The verdict, but a rule `rewrite` that finds nothing to replace declares nothing."""
    if verdict.rule == "rewrite" and _content_of(verdict, blobs)[1] == 0:
        return Ruling(verdict.change, "undeclared", "the rule `rewrite` finds nothing that matches")
    return verdict


def _content_of(verdict: Ruling, blobs: Path) -> tuple[bytes, int]:
    """What ships as the content of a change, and in how many places it was rewritten."""
    entry = verdict.change.new
    if entry is None or entry.kind != "file" or verdict.rule == "empty":
        return b"", 0
    data = (blobs / entry.sha256).read_bytes()
    rule = verdict.handled
    if rule is None:
        return data, 0
    return re.subn(rule.pattern.encode(), rule.replacement.encode(), data, flags=re.MULTILINE)


def stated(verdict: Ruling) -> str:
    """A change in a line, with the reason of its verdict if there is one."""
    why = f" ({verdict.why})" if verdict.why else ""
    return f"{verdict.change.what} {verdict.change.path}{why}"


def difference(change: TreeChange, base: tarfile.TarFile, blobs: Path) -> list[str]:
    """A change as a person reads it: kind, mode, owner, and the contents as a unified diff."""
    old, new = change.old, change.new
    lines = attributes(old, new)
    if old and new and old.sha256 == new.sha256:
        return lines
    before = _content(base, change.path) if old and old.kind == "file" else b""
    after = (blobs / new.sha256).read_bytes() if new and new.kind == "file" else b""
    return [*lines, *unified(before, after, "base", "baked")]


def attributes(old: TreeEntry | None, new: TreeEntry | None) -> list[str]:
    """What differs between two entries, except their contents."""
    lines = []
    for name in ("kind", "mode", "uid", "gid", "link", "device", "xattrs"):
        before = getattr(old, name) if old else None
        after = getattr(new, name) if new else None
        if before != after and (before or after):
            lines.append(f"{name}: {_shown(name, before)} -> {_shown(name, after)}")
    return lines


def unified(before: bytes, after: bytes, old: str, new: str) -> list[str]:
    """Two contents, called `old` and `new`, as a unified diff; a note if one is not text."""
    texts = [_decoded(data) for data in (before, after)]
    if texts[0] is None or texts[1] is None:
        return ["contents differ (binary)"]
    return list(
        difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), old, new, lineterm="")
    )


def _shown(name: str, value: object) -> str:
    if value is None:
        return "absent"
    return f"{value:04o}" if name == "mode" else str(value or "none")


def _content(base: tarfile.TarFile, path: str) -> bytes:
    return _read(base, index(base)[path])


def _decoded(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def apply(verdicts: Sequence[Ruling], base: Path, blobs: Path, final: Path, epoch: int) -> None:
    """Write the final tree's tar: the base tree with what ships.

    What did not change is copied byte for byte; what ships new or changed gets the time
    `epoch`, in place of the old member or sorted at the end. A hard link whose target does not
    stay as it was becomes a file of its own: what it names would be another's content, or
    nothing.
    """
    replaced = {v.change.path: v for v in verdicts if v.rule != "base" and v.change.old}
    added = [v for v in verdicts if v.rule in SHIPS and not v.change.old]
    with (
        tarfile.open(base) as source,
        base.open("rb") as raw,
        tarfile.open(final, "w", format=tarfile.PAX_FORMAT) as out,
    ):
        assert out.fileobj is not None
        members = index(source)
        _copy(raw, out, 0, min(member.offset for member in members.values()))
        for path, member in members.items():
            verdict = replaced.get(path)
            if verdict is None and member.islnk() and normal(member.linkname) in replaced:
                _add(out, path, base_entry(source, member), _read(source, member), member.mtime)
            elif verdict is None:
                end = member.offset_data + (member.size if member.isreg() else 0)
                _copy(raw, out, member.offset, -(-end // _BLOCK) * _BLOCK)
            elif verdict.rule in SHIPS:
                _ship(out, verdict, blobs, epoch)
        for verdict in sorted(added, key=lambda v: v.change.path):
            _ship(out, verdict, blobs, epoch)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a member; of a hard link that of the file that it names."""
    file = tar.extractfile(member)
    return file.read() if file else b""


def _copy(raw: BinaryIO, out: tarfile.TarFile, start: int, end: int) -> None:
    """Copy members' bytes as they are, headers included."""
    assert out.fileobj is not None
    raw.seek(start)
    while start < end:
        data = raw.read(min(end - start, 1 << 20))
        out.fileobj.write(data)
        start += len(data)
        out.offset += len(data)


def _ship(out: tarfile.TarFile, verdict: Ruling, blobs: Path, epoch: int) -> None:
    change = verdict.change
    entry = change.old or _EMPTY if verdict.rule == "empty" else change.new
    if entry:  # otherwise removed, and that is declared
        _add(out, change.path, entry, _content_of(verdict, blobs)[0], epoch)


def _add(out: tarfile.TarFile, path: str, entry: TreeEntry, data: bytes, mtime: float) -> None:
    """Write a member; `data` is the content of a regular file."""
    info = tarfile.TarInfo(f".{path}")
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, mtime
    info.pax_headers = {
        f"SCHILY.xattr.{name}": bytes.fromhex(value).decode("utf-8", "surrogateescape")
        for name, value in entry.xattrs.items()
    }
    if entry.kind == "file":
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))
        return
    kinds = {"directory": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
    if entry.kind not in kinds:
        raise StageError(f"{path}: a {entry.kind} cannot ship")
    info.type, info.linkname = kinds[entry.kind], entry.link
    out.addfile(info)
