"""Rules for the tar that an OVA is (DMTF DSP0243 5.1, 5.2; POSIX ustar)."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from lvslab.core.text import lines
from lvslab.verify.ova import descriptor
from lvslab.verify.rules import Absent, Refused, RuleSet, Unreadable, demand

ARCHIVE: RuleSet[Archive] = RuleSet()

_BLOCK = 512
_USTAR, _GNU = b"ustar\x0000", b"ustar  \x00"
_LONG_NAME = b"L"
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE)
_CHUNK = re.compile(r"(?P<name>.+)\.\d{9}")
_MANIFEST_LINE = re.compile(r"^SHA(1|256|512)( ?)\((.+)\) ?= ?([0-9A-Fa-f]+)$")
_MAX_TEXT = 4 << 20
_MAX_MEMBERS = 1000
_MAX_NAME = 4096
_DIGITS = {"1": 40, "256": 64, "512": 128}


@dataclass(frozen=True)
class TarMember:
    """A member of the tar: its header as written, and where its content is.

    `length` is how much of the content is there: less than the header says if it is cut off.
    """

    info: tarfile.TarInfo
    magic: bytes
    offset: int
    length: int

    @property
    def name(self) -> str:
        """The name."""
        return self.info.name


@dataclass(frozen=True)
class ManifestLine:
    """A line of the manifest; `blank` if there is a space before the bracket."""

    algorithm: str
    name: str
    digest: str
    blank: bool


class Archive:
    """A tar file, read header by header so that nothing is smoothed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    @cached_property
    def _scan(self) -> tuple[list[TarMember], int]:
        """The members and the offset of the block after the last."""
        members: list[TarMember] = []
        offset, name = 0, ""
        with self.path.open("rb") as file:
            while len(block := os.pread(file.fileno(), _BLOCK, offset)) == _BLOCK and any(block):
                member = self._member(block, offset + _BLOCK)
                offset += _BLOCK + -(-member.info.size // _BLOCK) * _BLOCK
                if member.info.type == _LONG_NAME:  # GNU tar's: the name of what follows
                    name = self._long_name(member)
                else:
                    member.info.name = name or member.info.name
                    members.append(member)
                    name = ""
                if offset > self.size:
                    break
                if len(members) > _MAX_MEMBERS:
                    raise Unreadable(f"it has more than {_MAX_MEMBERS} members")
        if not members:
            raise Unreadable("it is not a tar file, or an empty one")
        return members, min(offset, self.size)

    def _member(self, block: bytes, offset: int) -> TarMember:
        """The member of a header whose content begins at `offset`; raises Unreadable."""
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise Unreadable(f"no tar header at byte {offset - _BLOCK} ({error})") from None
        if info.size < 0:  # base-256 has a sign
            raise Unreadable(f"{info.name} has an impossible size of {info.size} bytes")
        return TarMember(info, block[257:265], offset, min(info.size, self.size - offset))

    def _long_name(self, member: TarMember) -> str:
        if member.info.size > _MAX_NAME:
            raise Unreadable(f"a name of {member.info.size} bytes")
        return self.content(member).rstrip(b"\0").decode("utf-8", "surrogateescape")

    @property
    def members(self) -> list[TarMember]:
        """All members in order; raises Unreadable."""
        return self._scan[0]

    @property
    def end(self) -> bytes:
        """What follows the last member."""
        with self.path.open("rb") as file:
            file.seek(self._scan[1])
            return file.read(_MAX_TEXT)

    def padding(self, member: TarMember) -> bytes:
        """What fills a member's last block."""
        start = member.offset + member.length
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), -start % _BLOCK, start)

    @cached_property
    def files(self) -> dict[str, list[TarMember]]:
        """The members by the names that References give: those of chunks are one file."""
        names = {member.name for member in self.members}
        found: dict[str, list[TarMember]] = {}
        for member in self.members:
            match = _CHUNK.fullmatch(member.name)
            whole = match["name"] if match and match["name"] not in names else member.name
            found.setdefault(whole, []).append(member)
        return found

    def find(self, ending: str) -> TarMember:
        """The first member whose name ends so; raises Unreadable."""
        for member in self.members:
            if member.name.lower().endswith(ending):
                return member
        raise Unreadable(f"there is no {ending} in it")

    def content(self, member: TarMember) -> bytes:
        """The content of a small member; raises Unreadable."""
        if member.info.size > _MAX_TEXT:
            raise Unreadable(f"{member.name} is too long for a text")
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), member.length, member.offset)

    def digest(self, member: TarMember, algorithm: str) -> str:
        """The hex digest of a member's content."""
        total = hashlib.new(algorithm)
        with self.path.open("rb") as file:
            file.seek(member.offset)
            left = member.length
            while left and (data := file.read(min(left, 1 << 20))):
                total.update(data)
                left -= len(data)
        return total.hexdigest()

    @cached_property
    def manifest(self) -> list[ManifestLine]:
        """The lines of the manifest; raises Absent (DSP0243 does not ask for it), Unreadable."""
        if not any(member.name.lower().endswith(".mf") for member in self.members):
            raise Absent("there is no manifest")
        entries = []
        try:
            text = self.content(self.find(".mf")).decode()
        except UnicodeDecodeError:
            raise Unreadable("the manifest is not UTF-8 text") from None
        for number, line in enumerate(map(str.rstrip, lines(text)), 1):
            match = _MANIFEST_LINE.match(line)
            if not match or len(match[4]) != _DIGITS[match[1]]:
                raise Unreadable(f"line {number} of the manifest is not SHA256(name)= hex: {line}")
            entries.append(
                ManifestLine(f"sha{match[1]}", match[3], match[4].lower(), bool(match[2]))
            )
        return entries


@ARCHIVE.rule(
    "tar-format",
    "the OVA is a tar archive of regular files, without pax headers",
    "VirtualBox: 'VERR_TAR_UNSUPPORTED_PAX_TYPE'; vSphere: 'Selected OVA file is not a valid "
    "template' for a file that is not a tar",
)
def _format(archive: Archive) -> str:
    try:
        members = archive.members
    except Unreadable as error:
        raise Refused(str(error)) from None
    for member in members:
        kind = member.info.type
        demand(kind not in _PAX, f"{member.name} is a pax header")
        demand(kind in (tarfile.REGTYPE, tarfile.AREGTYPE), f"{member.name} is not a regular file")
    return f"{len(members)} regular files in a tar archive"


@ARCHIVE.advice(
    "tar-ustar",
    "the headers are POSIX ustar",
    "no importer refuses GNU tar's (DSP0243 5.3 asks for ustar, and all read both)",
)
def _ustar(archive: Archive) -> str:
    for member in archive.members:
        kind = "GNU tar's" if member.magic == _GNU else repr(member.magic)
        demand(member.magic == _USTAR, f"{member.name} does not have a ustar header but {kind}")
    return "all headers are ustar"


@ARCHIVE.rule(
    "tar-names",
    "all names are different, and none has a folder",
    "ovftool looks for the name in References and does not find the file",
)
def _names(archive: Archive) -> str:
    names = [member.name for member in archive.members]
    for name in names:
        demand(name == PurePosixPath(name).name and name not in ("", ".", ".."), f"bad name {name}")
        demand(names.count(name) == 1, f"{name} is in it twice")
    return "all names are different, none is in a folder"


@ARCHIVE.advice(
    "tar-plain-names",
    "names are of letters, digits, `.`, `_` and `-`",
    "no importer refuses it, but scripts and URLs with such names have to quote them",
)
def _plain_names(archive: Archive) -> str:
    for member in archive.members:
        demand(re.fullmatch(r"[A-Za-z0-9._/-]+", member.name), f"{member.name!r} is not plain")
    return "all names are plain"


@ARCHIVE.rule(
    "tar-order",
    ".ovf first, then the files in the order of References; .mf and .cert after the .ovf "
    "or at the end",
    "ESXi and vSphere, which read the stream once: 'The OVF package is invalid and cannot be "
    "deployed'",
)
def _order(archive: Archive) -> str:
    first, *names = [member.name for member in archive.members]
    demand(first.lower().endswith(".ovf"), f"the first member is {first}, not the .ovf")
    files = descriptor.files(descriptor.parse(archive.content(archive.members[0])).root)
    wanted = [part for file in files for part in _parts(archive, file)]
    signed = [name for name in (f"{first[:-4]}.mf", f"{first[:-4]}.cert") if name in names]
    found = f"after {first} come {', '.join(names)}"
    demand(names in ([*signed, *wanted], [*wanted, *signed]), f"{found}, not {', '.join(wanted)}")
    return found


def _parts(archive: Archive, file: descriptor.FileRef) -> list[str]:
    """The members that a File should be, or is if it does not say how many."""
    there = [member.name for member in archive.files.get(file.href, ())]
    return there if there == [file.href] or file.size is None else file.names


@ARCHIVE.advice(
    "tar-manifest-place",
    "the manifest comes before the disks",
    "no importer refuses it, but one that reads the stream once finds a wrong disk only at the end",
)
def _manifest_place(archive: Archive) -> str:
    names = [member.name.lower() for member in archive.members]
    manifests = [place for place, name in enumerate(names) if name.endswith(".mf")]
    if not manifests:
        raise Absent("there is no manifest")
    demand(manifests[0] == 1, f"the manifest is member {manifests[0] + 1}, not the second")
    return "the manifest is the second member"


@ARCHIVE.advice(
    "tar-owner",
    "uid and gid are 0, no user names, mode 0644, one time for all",
    "no importer refuses it, but it shows the building host, and each build differs",
)
def _owner(archive: Archive) -> str:
    times = {member.info.mtime for member in archive.members}
    for member in archive.members:
        info = member.info
        demand((info.uid, info.gid) == (0, 0), f"{info.name} belongs to {info.uid}:{info.gid}")
        demand(info.uname in ("", "root"), f"{info.name} names the user {info.uname}")
        demand(info.gname in ("", "root"), f"{info.name} names the group {info.gname}")
        demand(info.mode == 0o644, f"{info.name} has mode {info.mode:o}")
    demand(len(times) == 1, "the members have different times")
    return "owner 0:0, mode 644, one time"


@ARCHIVE.rule(
    "tar-end",
    "the last file is complete, blocks are filled with zeros, and only zeros follow",
    "all importers, after the upload: the last file is shorter than its header says",
)
def _end(archive: Archive) -> str:
    end = archive.end
    last = archive.members[-1]
    demand(last.offset + last.info.size <= archive.size, f"{last.name} is cut off")
    for member in archive.members:
        demand(not any(archive.padding(member)), f"something is hidden behind {member.name}")
    demand(not any(end), "something follows the end of the archive")
    return "the archive is whole"


@ARCHIVE.advice(
    "tar-two-blocks",
    "two zero blocks end the archive",
    "no importer refuses an archive without them, which VirtualBox writes, or with one; GNU tar "
    "warns",
)
def _two_blocks(archive: Archive) -> str:
    blocks = len(archive.end) // _BLOCK
    demand(blocks >= 2, f"there {'is one' if blocks else 'is no'} zero block at the end")
    return "two zero blocks or more"


@ARCHIVE.advice(
    "tar-no-iso",
    "no ISO inside: importers drop it silently",
    "VirtualBox, Proxmox and virt-v2v import the machine without its CD-ROM",
)
def _no_iso(archive: Archive) -> str:
    for member in archive.members:
        demand(not member.name.lower().endswith(".iso"), f"{member.name} would be dropped")
    return "no ISO inside"


@ARCHIVE.advice(
    "manifest-there",
    "there is a manifest",
    "no importer refuses it (DSP0243 5.1), but nobody notices a file that was damaged on the way",
)
def _manifest_there(archive: Archive) -> str:
    there = any(member.name.lower().endswith(".mf") for member in archive.members)
    demand(there, "there is no manifest")
    return "there is a manifest"


@ARCHIVE.rule(
    "manifest-form",
    "the manifest has lines of the form `SHA256(name)= hex`",
    "vSphere: 'The provided manifest file is invalid: Invalid OVF manifest entry'",
)
def _manifest_form(archive: Archive) -> str:
    count = len(archive.members)
    try:
        return f"{len(archive.manifest)} lines for {count} members"
    except Unreadable as error:
        raise Refused(str(error)) from None


@ARCHIVE.advice(
    "manifest-blank",
    "there is no space before the bracket",
    "vSphere: 'The provided manifest file is invalid: Invalid OVF manifest entry'; VirtualBox "
    "writes one",
)
def _manifest_blank(archive: Archive) -> str:
    for entry in archive.manifest:
        demand(not entry.blank, f"there is a space before ({entry.name})")
    return "no space before the bracket"


@ARCHIVE.advice(
    "manifest-algorithm",
    "the digests are SHA256",
    "vSphere 8: 'Invalid OVF checksum algorithm: SHA1'",
)
def _manifest_algorithm(archive: Archive) -> str:
    for entry in archive.manifest:
        demand(entry.algorithm == "sha256", f"the digest of {entry.name} is {entry.algorithm}")
    return "all digests are SHA256"


@ARCHIVE.rule(
    "manifest-complete",
    "the manifest lists every file once, and no other",
    "ovftool: 'No manifest entry found for', 'File is missing from the manifest'",
)
def _manifest_complete(archive: Archive) -> str:
    named = [entry.name for entry in archive.manifest]
    there = [m.name for m in archive.members if not m.name.lower().endswith((".mf", ".cert"))]
    for name in there:
        demand(named.count(name) == 1, f"{name} is in the manifest {named.count(name)} times")
    for name in named:
        demand(name in there, f"the manifest names {name}, which is not in the archive")
    return f"{len(named)} files, each named once"


@ARCHIVE.rule(
    "manifest-digest",
    "each digest is that of the file",
    "Workstation: 'SHA digest does not match manifest'; vSphere: 'The checksum(s) from the "
    "provided manifest file do not match the content of file(s)'",
)
def _manifest_digest(archive: Archive) -> str:
    members = {member.name: member for member in archive.members}
    for entry in archive.manifest:
        if entry.name in members:
            found = archive.digest(members[entry.name], entry.algorithm)
            wrong = f"{entry.name} has {entry.algorithm} {found}, the manifest says {entry.digest}"
            demand(found == entry.digest, wrong)
    return "all digests match"
