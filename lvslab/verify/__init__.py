"""Artifacts against the rules that importers enforce: `verify(path)` gives one finding a rule.

Works on any OVA, VMDK, ISO or VMX, ours or others'. A folder is checked against its
SHA256SUMS, and then each artifact in it. Rules that are advice warn of others' files; they
must hold for those that a lab is given for, and for all in a folder that a build made.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lvslab.core.errors import InputError
from lvslab.core.processes import in_processes
from lvslab.formats import sums
from lvslab.formats.vmdk import Reader, VmdkError
from lvslab.formats.vmdk.layout import MONOLITHIC_SPARSE, NO_PARENT
from lvslab.verify.disks.extents import SPLIT, Split, is_descriptor, owner
from lvslab.verify.disks.guest_tools import GUEST_TOOLS, Promise
from lvslab.verify.disks.image import SPARSE, STREAM, Image
from lvslab.verify.disks.inside import DATA, DISK, ApplianceDisk
from lvslab.verify.folder import FOLDER, PART, Folder, FolderPart
from lvslab.verify.machine import VMX, VmxFile
from lvslab.verify.ova.archive import ARCHIVE, Archive, TarMember
from lvslab.verify.ova.chunks import ChunkReader
from lvslab.verify.ova.devices import HARDWARE
from lvslab.verify.ova.envelope import ENVELOPE
from lvslab.verify.ova.package import Envelope, attribute
from lvslab.verify.ova.products import PRODUCT
from lvslab.verify.rules import RULES, Finding, Outcome, Rule, Unreadable, settled
from lvslab.verify.seeds.volume import SEED, SeedIso

if TYPE_CHECKING:
    from lvslab.model.lab import Lab

__all__ = ["RULES", "Finding", "Outcome", "Rule", "verify", "verify_all"]

KINDS = (".ova", ".vmdk", ".iso", ".vmx")
"""The endings of what can be verified."""

_OURS = ("build.json", "START-HERE.txt")
_GZIP = "it is compressed with gzip, which VirtualBox and Workstation do not unpack: gunzip it"
_GZIP_MAGIC = b"\x1f\x8b"
_ISO_MAGIC = (32769, b"CD001")
_MAX_SEED = 16 << 20


def verify_all(paths: Sequence[Path], lab: Lab | None, signers: Path | None) -> list[Finding]:
    """What `verify` finds in all of `paths`, in their order, side by side. Raises as it does."""
    return _flat([partial(verify, path, lab, signers) for path in paths])


def _flat(works: Sequence[Callable[[], list[Finding]]]) -> list[Finding]:
    """The findings of all works. A defect is found again here: its traceback belongs to it."""

    def whole(work: Callable[[], list[Finding]]) -> list[Finding]:
        findings = work()
        if process == os.getpid() or not any(finding.error for finding in findings):
            return findings
        raise ValueError("a defect is not handed over")

    process = os.getpid()
    return [found for part in in_processes([partial(whole, w) for w in works]) for found in part]


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
    vouched = PART.run(FolderPart(path, [path], signers), path.name) if signers else []
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
        findings += PART.run(FolderPart(folder, files, signers), str(folder))
    if not files and not findings:
        raise InputError(f"there is no {', '.join(KINDS)} and no {sums.NAME}", where=str(folder))
    return findings + _flat([partial(_file, file, lab) for file in files])


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
            yield from VMX.run(VmxFile(path, lab), name)
        case _:
            raise InputError(
                f"not one of {', '.join(KINDS)}",
                where=str(path),
                hint="give an OVA, a VMDK, a seed ISO, a .vmx or the artifacts' folder",
            )


def _ova(path: Path, lab: Lab | None) -> Iterator[Finding]:
    archive = Archive(path)
    # The digests of the manifest are computed while the disks are looked at.
    with ThreadPoolExecutor(1) as pool:
        tar = pool.submit(ARCHIVE.run, archive, path.name)
        inside = list(_inside(archive, lab))
        yield from tar.result()
        yield from inside


def _inside(archive: Archive, lab: Lab | None) -> Iterator[Finding]:
    try:
        files = archive.files
    except Unreadable:  # the rules of the archive say so
        return
    disks = {n: parts for n, parts in files.items() if n.lower().endswith((".vmdk", ".vmdk.gz"))}
    envelope = _envelope(archive, disks)
    name = None
    if envelope:
        yield from envelope[1]
        name = _machine_name(envelope[0])
    for number, (disk, parts) in enumerate(disks.items()):
        where = tuple((part.offset, part.length) for part in parts)
        inside = Inside(where, first=number == 0, machine=name)
        yield from _vmdk(archive.path, f"{archive.path.name}/{disk}", lab, inside)


def _envelope(
    archive: Archive, disks: dict[str, list[TarMember]]
) -> tuple[Envelope, list[Finding]] | None:
    """The descriptor and its findings, if there is one (that it is first is a rule of the tar)."""
    try:
        ovf = archive.find(".ovf")
    except Unreadable:
        return None
    capacities = {name: _capacity(archive.path, parts) for name, parts in disks.items()}
    files = {n: [part.info.size for part in parts] for n, parts in archive.files.items()}
    envelope = Envelope(partial(archive.content, ovf), files, capacities.get)
    artifact = f"{archive.path.name}/{ovf.name}"
    findings = [f for rules in (ENVELOPE, HARDWARE, PRODUCT) for f in rules.run(envelope, artifact)]
    return envelope, findings


def _machine_name(envelope: Envelope) -> str | None:
    """What the machine is called in its descriptor."""
    try:
        systems = envelope.all("VirtualSystem")
    except Unreadable:
        return None
    return attribute(systems[0], "id") if systems else None


def _capacity(path: Path, parts: list[TarMember]) -> int | None:
    try:
        with ChunkReader(path, [(part.offset, part.length) for part in parts]) as reader:
            return reader.capacity
    except VmdkError:
        return None


@dataclass(frozen=True)
class Inside:
    """Where the parts of a VMDK are in an OVA: offset and length, in bytes.

    The first disk is the one that boots; `machine` is what the descriptor calls the machine.
    """

    parts: tuple[tuple[int, int], ...]
    first: bool
    machine: str | None


def _vmdk(
    path: Path, artifact: str, lab: Lab | None, inside: Inside | None = None
) -> Iterator[Finding]:
    """A disk in a file of its own, or `inside` an OVA, where importers take streams alone."""
    if inside is None and is_descriptor(path):
        yield from SPLIT.run(Split(path), artifact)
        return
    if inside is None and (whole := owner(path)):
        sentence = f"an extent of {whole.path.name}, a {whole.kind} disk"
        yield Finding(RULES["split-extents"], artifact, Outcome.PASS, sentence)
        return
    try:
        reader = ChunkReader(path, inside.parts) if inside else Reader(path)
    except VmdkError as error:
        packed = _is_gzip(path, inside.parts[0][0] if inside else 0)
        sentence = _GZIP if packed else error.message
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
    disk = ApplianceDisk(file, reader.capacity)
    if _holds_iso(reader):
        image = io.BytesIO(file.read(_MAX_SEED))
        # In an OVA the machine counts: files are renamed. A disk is called after its node.
        node = inside.machine if inside else Path(artifact).stem
        return SEED.run(SeedIso(image, node, lab), artifact)
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
