"""Two files that should be the same: what differs, as a person reads it, by the kind of file."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pycdlib

from lvslab.build.changes import Part, base_entry, index
from lvslab.build.policy import attributes, unified
from lvslab.formats.vmdk import Reader
from lvslab.reproduce.place import common, first_difference, on_disk

_SHOWN_LINES = 20
_SHOWN_PATHS = 20
_NAMES = ("first", "second")


def shown(first: Path, second: Path) -> list[str]:
    """What differs between two files; empty if nothing does. A broken file is shown by offset."""
    offset = first_difference(first, second)
    if offset is None:
        return []
    kinds: dict[str, Callable[[Path, Path], list[str]]] = {
        ".tar": _tars,
        ".raw": _disks,
        ".vmdk": _vmdks,
        ".ova": _archives,
        ".iso": _isos,
        ".zip": _zips,
    }
    try:
        lines = kinds.get(first.suffix, _texts)(first, second)
    except Exception as error:  # a broken file breaks readers in ways that nobody lists
        lines = [f"it cannot be looked into ({type(error).__name__}: {error})"]
    return lines or _offsets(first, second, offset)


def _offsets(first: Path, second: Path, offset: int) -> list[str]:
    sizes = [path.stat().st_size for path in (first, second)]
    bytes_there = []
    for path in (first, second):
        with path.open("rb") as file:
            file.seek(offset)
            bytes_there.append(file.read(16).hex(" ") or "the file ends")
    lines = [f"sizes: {sizes[0]} -> {sizes[1]}"] if sizes[0] != sizes[1] else []
    return [*lines, f"first at byte {offset}: {bytes_there[0]} -> {bytes_there[1]}"]


def _texts(first: Path, second: Path) -> list[str]:
    lines = unified(first.read_bytes(), second.read_bytes(), *_NAMES)
    return [] if lines == ["contents differ (binary)"] else lines[:_SHOWN_LINES]


def _tars(first: Path, second: Path) -> list[str]:
    """Members by path: attributes, time and content; then their order and the headers."""
    with tarfile.open(first) as one, tarfile.open(second) as two:
        members = index(one), index(two)
        paths = [*members[0], *(path for path in members[1] if path not in members[0])]
        differing = ((path, lines) for path in paths if (lines := _member(one, two, members, path)))
        found = list(_limited(differing))
        if not found and list(members[0]) != list(members[1]):
            number = next(n for n, (a, b) in enumerate(zip(*members, strict=False)) if a != b)
            names = [list(paths)[number] for paths in members]
            found = [f"the order of the members: {names[0]} -> {names[1]}"]
    return found


def _member(
    one: tarfile.TarFile,
    two: tarfile.TarFile,
    members: tuple[Mapping[str, tarfile.TarInfo], Mapping[str, tarfile.TarInfo]],
    path: str,
) -> list[str]:
    a, b = members[0].get(path), members[1].get(path)
    if a is None or b is None:
        return ["only in the second" if a is None else "only in the first"]
    old, new = base_entry(one, a), base_entry(two, b)
    lines = attributes(old, new)
    if a.mtime != b.mtime:
        lines.append(f"mtime: {a.mtime:.0f} -> {b.mtime:.0f}")
    if old.sha256 != new.sha256:
        lines += unified(_content(one, a), _content(two, b), *_NAMES)
    return lines


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() or member.islnk() else None
    return file.read() if file else b""


def _limited(differing: Iterator[tuple[str, list[str]]]) -> Iterator[str]:
    """Path and lines of each difference; of very many, only the number of the others."""
    more = 0
    for number, (path, lines) in enumerate(differing):
        if number < _SHOWN_PATHS:
            yield path
            yield from (f"    {line}" for line in lines[:_SHOWN_LINES])
        else:
            more += 1
    if more:
        yield f"and {more} more paths"


def _disks(first: Path, second: Path) -> list[str]:
    offset = first_difference(first, second)
    assert offset is not None
    with first.open("rb") as raw:
        where = on_disk(lambda start: Part(raw, start), first.stat().st_size, offset)
    return [f"first at byte {offset}: {where}", *_offsets(first, second, offset)[:-1]]


def _vmdks(first: Path, second: Path) -> list[str]:
    """The disk inside, else the descriptor, else how the disk is packed."""
    with Reader(first) as one, Reader(second) as two:
        if one.capacity != two.capacity:
            return [f"capacity: {one.capacity} -> {two.capacity} bytes"]
        for number in sorted({*one.entries, *two.entries}):
            left, right = one.grain(number), two.grain(number)
            if left != right:
                return [_inside(one, number * one.grain_bytes + common(left, right))]
        texts = [json.dumps(r.descriptor.values, indent=0).encode() for r in (one, two)]
    if lines := unified(texts[0], texts[1], *_NAMES):
        return ["the disk inside is the same, the descriptor differs", *lines[:_SHOWN_LINES]]
    offset = first_difference(first, second)
    assert offset is not None
    packed = "the disk inside is the same, it is packed differently"
    return [packed, *_offsets(first, second, offset)]


def _inside(reader: Reader, offset: int) -> str:
    disk = reader.disk()
    where = on_disk(
        lambda start: disk.part(start, reader.capacity - start), reader.capacity, offset
    )
    return f"the disk inside differs, first at byte {offset}: {where}"


def _archives(first: Path, second: Path) -> list[str]:
    """An OVA: its members, each as its own kind."""
    with (
        tempfile.TemporaryDirectory() as name,
        tarfile.open(first) as one,
        tarfile.open(second) as two,
    ):
        names = [tar.getnames() for tar in (one, two)]
        if names[0] != names[1]:
            return [f"members: {', '.join(names[0])} -> {', '.join(names[1])}"]
        found = []
        for member in names[0]:
            if one.getmember(member).get_info() != two.getmember(member).get_info():
                found.append(f"{member}: its header in the archive differs")
            paths = []
            for tar, below in zip((one, two), _NAMES, strict=True):
                paths.append(_extracted(tar, member, Path(name) / below))
            if lines := shown(*paths):
                found += [member, *(f"    {line}" for line in lines)]
    return found


def _extracted(tar: tarfile.TarFile, member: str, folder: Path) -> Path:
    """A file of an OVA, which has no folders."""
    target = folder / Path(member).name
    folder.mkdir(exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    return target


def _isos(first: Path, second: Path) -> list[str]:
    return _contents(_iso_files(first), _iso_files(second))


def _iso_files(path: Path) -> dict[str, bytes]:
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        found = {}
        for child in iso.list_children(joliet_path="/"):
            if child.is_file():
                name = child.file_identifier().decode("utf-16_be")
                content = io.BytesIO()
                iso.get_file_from_iso_fp(content, joliet_path=f"/{name}")
                found[name] = content.getvalue()
        return found
    finally:
        iso.close()


def _zips(first: Path, second: Path) -> list[str]:
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
        sums = [{info.filename: info for info in z.infolist()} for z in (one, two)]
        found = []
        for name in dict.fromkeys([*sums[0], *sums[1]]):
            a, b = sums[0].get(name), sums[1].get(name)
            if a is None or b is None:
                found.append(f"{name}: only in the {'second' if a is None else 'first'}")
            elif a.CRC != b.CRC or a.file_size != b.file_size:
                found.append(f"{name}: its content differs")
            elif (a.date_time, a.external_attr) != (b.date_time, b.external_attr):
                found.append(f"{name}: its time or mode differs")
    return found[:_SHOWN_PATHS]


def _contents(one: Mapping[str, bytes], two: Mapping[str, bytes]) -> list[str]:
    def differing() -> Iterator[tuple[str, list[str]]]:
        for name in dict.fromkeys([*one, *two]):
            if name not in one or name not in two:
                yield name, [f"only in the {'second' if name not in one else 'first'}"]
            elif one[name] != two[name]:
                yield name, unified(one[name], two[name], *_NAMES)

    return list(_limited(differing()))
