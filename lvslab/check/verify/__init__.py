"""Artifacts against the rules that importers enforce: `verify(path)` gives one finding a rule.

Works on any OVA, VMDK, ISO or VMX, ours or others'. A folder is checked against its
SHA256SUMS, and then each artifact in it. Rules that are advice warn of others' files; they
must hold for those that a lab is given for, and for all in a folder that a build made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lvslab.check.verify.archive import ARCHIVE, Archive, Member
from lvslab.check.verify.devices import HARDWARE
from lvslab.check.verify.disk import DATA, DISK, Disk
from lvslab.check.verify.envelope import ENVELOPE, Envelope
from lvslab.check.verify.folder import FOLDER, PART, Folder, Part
from lvslab.check.verify.image import SPARSE, STREAM, Image
from lvslab.check.verify.machine import VMX, Machine
from lvslab.check.verify.rules import RULES, Finding, Outcome, Rule, Unreadable, settled
from lvslab.check.verify.seed import SEED, SeedIso
from lvslab.check.verify.tools import GUEST_TOOLS, Promise
from lvslab.core.errors import InputError
from lvslab.export import sums
from lvslab.export.vmdk import Reader, VmdkError
from lvslab.export.vmdk.layout import MONOLITHIC_SPARSE, NO_PARENT
from lvslab.model.lab import Lab

__all__ = ["RULES", "Finding", "Outcome", "Rule", "verify"]

KINDS = (".ova", ".vmdk", ".iso", ".vmx")
"""The endings of what can be verified."""

_OURS = ("build.json", "START-HERE.txt")
_GZIP = "it is compressed with gzip, which VirtualBox and Workstation do not unpack: gunzip it"
_GZIP_MAGIC = b"\x1f\x8b"
_ISO_MAGIC = (32769, b"CD001")
_MAX_SEED = 16 << 20


def verify(path: Path, lab: Lab | None = None, signers: Path | None = None) -> list[Finding]:
    """Look at a file, or at all artifacts of a folder; `lab` lets seeds be compared with it.

    With `signers` (allowed_signers of OpenSSH, or a keyring of gpg) all that is looked at must
    be vouched for by one of them: the SHA256SUMS of the folder, or of one above, is signed
    and has its sum. Raises InputError if there is nothing there that can be verified.
    """
    if signers and not signers.is_file():
        raise InputError("there is no such file", where=f"--signers {signers}")
    if path.is_dir():
        return _folder(path, lab, signers)
    if not path.is_file():
        raise InputError("there is no such file", where=str(path))
    vouched = PART.run(Part(path, [path], signers), path.name) if signers else []
    return [*vouched, *_file(path, lab)]


def _folder(folder: Path, lab: Lab | None, signers: Path | None) -> list[Finding]:
    is_whole = (folder / sums.NAME).is_file()
    # beside artifacts there are texts to read, too: a .vmx of `render` has no disk
    there = sums.artifacts(folder) if is_whole else sorted(folder.rglob("*"))
    files = [path for path in there if path.suffix.lower() in KINDS and path.is_file()]
    findings: list[Finding] = []
    if is_whole:
        findings += FOLDER.run(Folder(folder, signers), str(folder))
    elif signers:
        findings += PART.run(Part(folder, files, signers), str(folder))
    if not files and not findings:
        raise InputError(f"there is no {', '.join(KINDS)} and no {sums.NAME}", where=str(folder))
    for file in files:
        findings += _file(file, lab)
    return findings


def _file(path: Path, lab: Lab | None) -> list[Finding]:
    return settled(list(_findings(path, lab)), strict=lab is not None or _is_ours(path))


def _is_ours(path: Path) -> bool:
    """Whether a file is in a folder of artifacts, or in the VMware folder that is handed out."""
    return any(
        (folder / sums.NAME).is_file() and any((folder / name).is_file() for name in _OURS)
        for folder in path.absolute().parents[:3]
    )


def _findings(path: Path, lab: Lab | None) -> Iterator[Finding]:
    name = path.name
    match path.suffix.lower():
        case ".ova":
            yield from _ova(path, lab)
        case ".vmdk":
            yield from _vmdk(path, name, lab)
        case ".iso":
            with path.open("rb") as file:
                yield from SEED.run(SeedIso(file, path.stem, lab), name)
        case ".vmx":
            yield from VMX.run(Machine(path, lab), name)
        case _:
            raise InputError(
                f"not one of {', '.join(KINDS)}",
                where=str(path),
                hint="give an OVA, a VMDK, a seed ISO, a .vmx or the artifacts' folder",
            )


def _ova(path: Path, lab: Lab | None) -> Iterator[Finding]:
    archive = Archive(path)
    # The digests of the manifest are reckoned while the disks are looked at.
    with ThreadPoolExecutor(1) as pool:
        tar = pool.submit(ARCHIVE.run, archive, path.name)
        inside = list(_inside(archive, lab))
        yield from tar.result()
        yield from inside


def _inside(archive: Archive, lab: Lab | None) -> Iterator[Finding]:
    try:
        members = archive.members
    except Unreadable:  # the rules of the archive say so
        return
    disks = [m for m in members if m.name.lower().endswith((".vmdk", ".vmdk.gz"))]
    yield from _described(archive, disks)
    for number, member in enumerate(disks):
        artifact = f"{archive.path.name}/{member.name}"
        inside = Inside(member.offset, member.length, first=number == 0)
        yield from _vmdk(archive.path, artifact, lab, inside)


def _described(archive: Archive, disks: list[Member]) -> Iterator[Finding]:
    """The rules of the descriptor, if there is one (that it comes first is one of the tar's)."""
    try:
        ovf = archive.find(".ovf")
    except Unreadable:
        return
    capacities = {member.name: _capacity(archive.path, member) for member in disks}
    files = {member.name: member.info.size for member in archive.members}
    envelope = Envelope(partial(archive.content, ovf), files, capacities.get)
    yield from ENVELOPE.run(envelope, f"{archive.path.name}/{ovf.name}")
    yield from HARDWARE.run(envelope, f"{archive.path.name}/{ovf.name}")


def _capacity(path: Path, member: Member) -> int | None:
    try:
        with Reader(path, member.offset, member.length) as reader:
            return reader.capacity
    except VmdkError:
        return None


@dataclass(frozen=True)
class Inside:
    """Where a VMDK stands in an OVA, in bytes, and whether it is the first: the one that boots."""

    offset: int
    length: int
    first: bool


def _vmdk(
    path: Path, artifact: str, lab: Lab | None, inside: Inside | None = None
) -> Iterator[Finding]:
    """A disk in a file of its own, or `inside` an OVA, where importers take streams alone."""
    start, length = (inside.offset, inside.length) if inside else (0, None)
    try:
        reader = Reader(path, start, length)
    except VmdkError as error:
        sentence = _GZIP if _is_gzip(path, start) else error.message
        yield Finding(RULES[f"vmdk-{error.rule}"], artifact, Outcome.FAIL, sentence)
        return
    with reader:
        hosted = reader.descriptor.values.get("createType") == MONOLITHIC_SPARSE
        rules = SPARSE if hosted and inside is None else STREAM
        yield from rules.run(Image(reader), artifact)
        if reader.descriptor.values.get("parentCID", NO_PARENT) != NO_PARENT:
            return  # what a child holds is a difference, not a disk
        try:
            yield from _on_disk(reader, artifact, lab, inside)
        except VmdkError:  # a part that cannot be read: the rules of the image say so
            return


def _on_disk(
    reader: Reader, artifact: str, lab: Lab | None, inside: Inside | None
) -> list[Finding]:
    """The rules for a seed, for a disk of data or for a system; raises VmdkError."""
    file = reader.disk()
    disk = Disk(file, reader.capacity)
    if _holds_iso(reader):
        image = io.BytesIO(file.read(_MAX_SEED))
        # An OVA of one node is called after it, and so is a seed's disk in a file of its own.
        return SEED.run(SeedIso(image, Path(artifact.partition("/")[0]).stem, lab), artifact)
    if inside and not inside.first and disk.bare:
        return DATA.run(disk, artifact)
    promise = Promise(reader.descriptor, disk)
    return [*DISK.run(disk, artifact), *GUEST_TOOLS.run(promise, artifact)]


def _is_gzip(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


def _holds_iso(reader: Reader) -> bool:
    """Whether the disk is a seed: an ISO as a second disk, for importers that drop CD-ROMs.

    Raises VmdkError.
    """
    return reader.read_at(_ISO_MAGIC[0], len(_ISO_MAGIC[1])) == _ISO_MAGIC[1]
