"""Rules for what is on an appliance's disk: it boots, and it carries no secret.

The file systems are read out of the VMDK, without a mount and without root. Sources:
UEFI 2.10 section 5 (GPT) and 3.5.1.1 (removable-media loader); GRUB's boot.S.
"""

from __future__ import annotations

import re
import stat
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dissect.extfs import ExtFS
from dissect.extfs.exceptions import FileNotFoundError as NotInExt
from dissect.fat import FATFS

from lvslab.formats.vmdk.reader import DiskFile
from lvslab.verify.rules import Absent, Refused, RuleSet, Unreadable, demand, reading
from lvslab.verify.seeds.cloud import log_ins

DISK: RuleSet[ApplianceDisk] = RuleSet()
DATA: RuleSet[ApplianceDisk] = RuleSet()

SECTOR = 512
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
_GPT = b"EFI PART"
_EXT_MAGIC = (1080, b"\x53\xef")
_GRUB_KERNEL_SECTOR = 0x5C
_LOADER = "EFI/BOOT/BOOTX64.EFI"
_HOST_KEY = "/etc/ssh/ssh_host_"
_HOMES = ("/root", "/home")
_WATCHED = ("/etc", "/opt", "/srv", "/var/lib", *_HOMES)
_PASSWORD_FILES = (".netrc", ".git-credentials", ".pgpass", ".my.cnf")
_CLOUD = ("/etc/cloud/cloud.cfg", "/var/lib/cloud/seed")
_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|^PuTTY-User-Key-File-", re.MULTILINE)
_MAX_KEY = 64 << 10
_DEEPEST = 200
_MAX_TEXT = 4 << 20


@dataclass(frozen=True)
class FoundPartition:
    """A partition of the GPT: its type, first sector and number of sectors."""

    kind: uuid.UUID
    start: int
    sectors: int


class ApplianceDisk:
    """A disk that can be read; what is on it is found when it is asked for."""

    def __init__(self, file: DiskFile, capacity: int) -> None:
        self.file, self.capacity = file, capacity

    def read(self, sector: int, count: int = 1) -> bytes:
        """`count` sectors from `sector` on."""
        self.file.seek(sector * SECTOR)
        return self.file.read(count * SECTOR)

    @property
    def bare(self) -> bool:
        """Whether there is no partition table: a disk for data alone."""
        return not self.has_gpt and self.read(0)[510:512] != b"\x55\xaa"

    @property
    def has_gpt(self) -> bool:
        """Whether there is a GPT, or one of its two copies."""
        return any(self.read(sector)[:8] == _GPT for sector in (1, self.capacity // SECTOR - 1))

    @cached_property
    def header(self) -> bytes:
        """The GPT header; raises Unreadable."""
        data = self.read(1)
        if data[:8] != _GPT:
            raise Unreadable("there is no GPT")
        return data

    @cached_property
    def table(self) -> bytes:
        """The GPT's entries; raises Unreadable."""
        start, count, size = struct.unpack_from("<QII", self.header, 72)
        if count * size > 1 << 20 or size < 128:
            raise Unreadable("the GPT claims an impossible table")
        found = self.read(start, -(-count * size // SECTOR))[: count * size]
        if len(found) < count * size:
            raise Unreadable("the GPT's table does not lie on the disk")
        return found

    @cached_property
    def partitions(self) -> list[FoundPartition]:
        """The partitions of the GPT, or the primary ones of the MBR; raises Unreadable."""
        if not self.has_gpt:
            return self._primary()
        (size,) = struct.unpack_from("<I", self.header, 84)
        found = []
        for offset in range(0, len(self.table), size):
            kind = uuid.UUID(bytes_le=self.table[offset : offset + 16])
            first, last = struct.unpack_from("<QQ", self.table, offset + 32)
            if kind.int:
                found.append(FoundPartition(kind, first, last - first + 1))
        return found

    def _primary(self) -> list[FoundPartition]:
        """The four entries of the MBR that are in use; their types are numbers of one byte."""
        sector = self.read(0)
        if sector[510:512] != b"\x55\xaa":
            raise Unreadable("there is no partition table")
        entries = (struct.unpack_from("<4xB3xII", sector, 446 + 16 * n) for n in range(4))
        return [FoundPartition(uuid.UUID(int=kind), *place) for kind, *place in entries if kind]

    def partition(self, kind: uuid.UUID, name: str) -> FoundPartition:
        """The first partition of a type; raises Refused if there is none."""
        for partition in self.partitions:
            if partition.kind == kind:
                return partition
        raise Refused(f"there is no {name}")

    def part(self, partition: FoundPartition) -> DiskFile:
        """A partition as a file."""
        return self.file.part(partition.start * SECTOR, partition.sectors * SECTOR)

    @cached_property
    def root(self) -> Any:
        """The root file system: the first ext4; raises Unreadable."""
        for file in [self.file] if self.bare else map(self.part, self.partitions):
            file.seek(_EXT_MAGIC[0])
            if file.read(2) == _EXT_MAGIC[1]:
                file.seek(0)
                with reading("the ext4 file system"):
                    return ExtFS(file)
        raise Unreadable("there is no ext4 file system")

    def find(self, path: str) -> Any | None:
        """The inode of a path in the root file system, symbolic links not followed."""
        root = self.root
        with reading(path):
            try:
                return root.get(path)
            except NotInExt:
                return None

    def content(self, path: str) -> bytes | None:
        """A text's content; None if there is no such regular file, Refused if it is huge."""
        node = self.find(path)
        if node is None or _kind(node) != stat.S_IFREG:
            return None
        if _size(node) > _MAX_TEXT:
            raise Refused(f"{path} has {node.size} bytes")
        return _content(node)

    def below(self, path: str) -> Iterator[tuple[str, Any]]:
        """Every file below a folder, with its inode; nothing if it is not there."""
        node = self.find(path)
        if node is not None:
            yield from _below(path, node, frozenset())

    @cached_property
    def watched(self) -> list[tuple[str, Any]]:
        """Every file, with its inode, below the folders in which secrets are left."""
        return [found for folder in _WATCHED for found in self.below(folder)]


def _kind(node: Any) -> int:
    with reading("an inode"):
        return int(node.filetype)


def _size(node: Any) -> int:
    with reading("an inode"):
        return int(node.size)


def _content(node: Any) -> bytes:
    with reading("a file"):
        return bytes(node.open().read())


def _below(path: str, folder: Any, above: frozenset[int]) -> Iterator[tuple[str, Any]]:
    """`above` are the inodes of the folders on the way: one of them again would be a ring."""
    if _kind(folder) != stat.S_IFDIR:
        return
    if folder.inum in above or len(above) > _DEEPEST:
        raise Refused(f"{path} leads back to a folder above it")
    above |= {folder.inum}
    with reading(path):
        children = list(folder.iterdir())
    for child in children:
        if child.filename not in (".", ".."):
            name = f"{path.rstrip('/')}/{child.filename}"
            yield name, child
            yield from _below(name, child, above)


@DISK.advice(
    "disk-mbr",
    "sector 0 has boot code and a protective partition of type EE",
    "a BIOS does not boot from it; UEFI does not take the GPT",
)
def _mbr(disk: ApplianceDisk) -> str:
    sector = disk.read(0)
    demand(sector[510:512] == b"\x55\xaa", "sector 0 does not end in 55 AA")
    demand(any(sector[:440]), "there is no boot code in sector 0")
    demand(sector[450] == 0xEE, f"the first partition has type {sector[450]:02X}, not EE")
    return "boot code and protective partition"


@DISK.rule(
    "disk-gpt",
    "both copies of the GPT are whole (CRC32) and agree",
    "UEFI: no bootable device",
)
def _gpt(disk: ApplianceDisk) -> str:
    if not disk.has_gpt:
        raise Absent("there is no GPT")
    last = disk.capacity // SECTOR - 1
    for sector in (1, last):
        header = disk.read(sector)
        demand(header[:8] == _GPT, f"there is no GPT in sector {sector}")
        size, crc = struct.unpack_from("<II", header, 12)
        demand(92 <= size <= SECTOR, f"the GPT in sector {sector} has an impossible length")
        blanked = header[:16] + bytes(4) + header[20:size]
        demand(zlib.crc32(blanked) == crc, f"the GPT in sector {sector} has a wrong CRC")
        own, start, count, width, table_crc = struct.unpack_from("<Q40xQIII", header, 24)
        demand(own == sector, f"the GPT in sector {sector} says that it is in {own}")
        table = disk.read(start, -(-count * width // SECTOR))[: count * width]
        demand(zlib.crc32(table) == table_crc, f"the table of sector {sector} has a wrong CRC")
        demand(table == disk.table, "the two tables differ")
    for part in disk.partitions:
        demand(part.start + part.sectors <= last, "a partition lies beyond the end of the disk")
    return f"{len(disk.partitions)} partitions, both copies whole"


@DISK.advice(
    "disk-bios-loader",
    "the boot code points to GRUB's core in the BIOS boot partition",
    "with BIOS firmware the machine hangs at a blinking cursor",
)
def _bios_loader(disk: ApplianceDisk) -> str:
    part = disk.partition(_BIOS_BOOT, "BIOS boot partition")
    (target,) = struct.unpack_from("<Q", disk.read(0), _GRUB_KERNEL_SECTOR)
    demand(target == part.start, f"the boot code loads sector {target}, not {part.start}")
    first = disk.read(part.start)
    demand(any(first), "the BIOS boot partition is empty")
    start, count = struct.unpack_from("<QH", first, 0x1F4)
    demand(start == part.start + 1, f"GRUB continues at sector {start}, not {part.start + 1}")
    demand(0 < count < part.sectors, f"GRUB's core would have {count} sectors")
    return f"boot code, then {count + 1} sectors of GRUB"


@DISK.advice(
    "disk-uefi-loader",
    f"the EFI system partition has {_LOADER}",
    "with UEFI firmware: no bootable device",
)
def _uefi_loader(disk: ApplianceDisk) -> str:
    file = disk.part(disk.partition(_ESP, "EFI system partition"))
    try:
        with reading(_LOADER):
            head = FATFS(file).get(_LOADER).open().read(2)
    except Unreadable as error:
        raise Refused(f"{_LOADER} is not there ({error})") from None
    demand(head == b"MZ", f"{_LOADER} is not a program for UEFI")
    return f"{_LOADER} is there"


@DISK.advice(
    "disk-root",
    "there is a root file system that can be read, with a kernel and GRUB's menu",
    "GRUB: no menu, or 'file not found' for the kernel",
)
def _root(disk: ApplianceDisk) -> str:
    demand(disk.partitions, "there is no partition")
    try:
        names = [name.rpartition("/")[2] for name, _ in disk.below("/boot")]
    except Unreadable as error:
        raise Refused(str(error)) from None
    kernels = [name for name in names if name.startswith("vmlinuz-")]
    demand(kernels, "there is no kernel in /boot")
    demand(any(name.startswith("initrd.img-") for name in names), "there is no initrd in /boot")
    demand("grub.cfg" in names, "there is no grub.cfg")
    return f"kernel {kernels[0].removeprefix('vmlinuz-')}"


@DISK.advice(
    "disk-no-password",
    "no account in /etc/shadow has a password",
    "no importer refuses it: everybody who has the image knows the login",
)
def _no_password(disk: ApplianceDisk) -> str:
    shadow = disk.content("/etc/shadow")
    demand(shadow is not None, "there is no /etc/shadow")
    for line in (shadow or b"").decode(errors="replace").splitlines():
        user, _, rest = line.partition(":")
        secret = rest.split(":", 1)[0]
        demand(secret[:1] in ("*", "!"), f"the account {user} can log in with a password")
    for line in (disk.content("/etc/passwd") or b"").decode(errors="replace").splitlines():
        user, secret = (line.split(":") + [""])[:2]
        demand(secret == "x", f"the account {user} has its password in /etc/passwd")
    return "no account has a password"


@DISK.advice(
    "disk-no-host-key",
    "no SSH host key, and no private key below " + ", ".join(_WATCHED),
    "no importer refuses it: all machines made from the image could be impersonated",
)
def _no_host_key(disk: ApplianceDisk) -> str:
    for name, node in disk.watched:
        demand(not name.startswith(_HOST_KEY), f"{name} is in the image")
        demand(not _is_private_key(node), f"{name} is a private key")
    return "no host key, no private key"


def _is_private_key(node: Any) -> bool:
    small = _kind(node) == stat.S_IFREG and _size(node) <= _MAX_KEY
    return bool(small and _holds_private_key(_content(node)))


def _holds_private_key(content: bytes) -> bool:
    # The words alone are found ten times faster than the expression, and are in no other file.
    likely = b"PRIVATE KEY" in content or b"PuTTY" in content
    return likely and _PRIVATE.search(content) is not None


@DISK.advice(
    "disk-no-authorized-key",
    "no authorized_keys, no file of passwords such as .netrc, no shell history",
    "no importer refuses it: somebody else's key or password opens the machine, or another one",
)
def _no_authorized_key(disk: ApplianceDisk) -> str:
    for name, _ in disk.watched:
        last = name.rpartition("/")[2]
        left = last.startswith("authorized_keys") or last in _PASSWORD_FILES
        history = last.endswith("_history") and name.startswith(_HOMES)
        demand(not left and not history, f"{name} is in the image")
    return "no authorized_keys, no file of passwords"


@DISK.advice(
    "disk-no-cloud-password",
    "cloud-init finds no password and no key in the image: " + ", ".join(_CLOUD),
    "no importer refuses it: cloud-init gives every machine the same login",
)
def _no_cloud_password(disk: ApplianceDisk) -> str:
    for name, node in disk.watched:
        if not name.startswith(_CLOUD) or _kind(node) != stat.S_IFREG or _size(node) > _MAX_KEY:
            continue
        for sentence in log_ins(_content(node).decode(errors="replace")):
            raise Refused(f"{name}: {sentence}")
    return "no login by cloud-init"


@DISK.advice(
    "disk-machine-id",
    "/etc/machine-id is empty, D-Bus has none of its own",
    "no importer refuses it: all machines get the same DHCP lease and journal id",
)
def _machine_id(disk: ApplianceDisk) -> str:
    identity = disk.content("/etc/machine-id")
    demand(identity is not None, "there is no /etc/machine-id")
    demand(not (identity or b"").strip(), "/etc/machine-id is set")
    demand(not disk.content("/var/lib/dbus/machine-id"), "/var/lib/dbus/machine-id is set")
    return "no machine id"


@DISK.advice(
    "disk-no-state",
    "no random seed and no trace of a cloud-init run",
    "no importer refuses it: cloud-init takes the machine for one that was set up already",
)
def _no_state(disk: ApplianceDisk) -> str:
    seed = "/var/lib/systemd/random-seed"
    demand(disk.find(seed) is None, f"{seed} is in the image")
    for name, _ in disk.below("/var/lib/cloud"):
        last = name.rpartition("/")[2]
        demand(last not in ("instance", "user-data.txt", "obj.pkl"), f"{name} is in the image")
    return "no state of an earlier boot"


@DATA.advice(
    "data-no-key",
    "no private key on a disk without partitions",
    "no importer refuses it: all machines made from the image could be impersonated",
)
def _data_no_key(disk: ApplianceDisk) -> str:
    try:
        files = list(disk.below("/"))
    except Unreadable:
        raise Absent("there is no ext4 file system, the only one that is looked into") from None
    for name, node in files:
        demand(not _is_private_key(node), f"{name} is a private key")
    return f"{len(files)} files, no private key"
