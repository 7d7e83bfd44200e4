"""A raw disk from a tree: GPT, GRUB for BIOS and UEFI, one ext4 with the tree in it.

Layout (LBA of 512 bytes): protective MBR with GRUB's boot.img, GPT, a BIOS boot partition
with GRUB's core.img, an EFI system partition (FAT32), the root file system. Both
firmwares read the same /boot/grub/grub.cfg. Every identifier is derived from `seed`, so
the same tree makes the same bytes. Sources: UEFI specification 2.10, section 5 (GPT);
GRUB's boot/i386/pc/boot.S and diskboot.S for the patched offsets.
"""

from __future__ import annotations

import os
import struct
import tempfile
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lvslab.build.tools import Tools
from lvslab.core.errors import StageError

SECTOR = 512
LABEL = "lvslab"
_MIB = (1 << 20) // SECTOR
_NAMESPACE = uuid.UUID("2f3b6c1e-58a4-5d0f-9a52-6c1c2b7e4f10")

# Partition type GUIDs: GRUB manual "BIOS installation"; UEFI 5.3.3; Discoverable
# Partitions Specification (root, x86-64).
_BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_ROOT = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")

_CORE_MODULES = (
    "part_gpt ext2 normal search search_label linux configfile echo test serial terminal"
)
_EARLY = f"search --no-floppy --label {LABEL} --set=root\nset prefix=($root)/boot/grub\n"


@dataclass(frozen=True)
class Partition:
    """A partition: GPT type, name, first sector and number of sectors."""

    kind: uuid.UUID
    name: str
    start: int
    sectors: int


def layout(size_mib: int) -> tuple[Partition, Partition, Partition]:
    """BIOS boot, EFI system and root partition of a disk of `size_mib`."""
    esp = 64 * _MIB
    root = (size_mib - 1) * _MIB - (2 * _MIB + esp)
    return (
        Partition(_BIOS_BOOT, "BIOS boot", _MIB, _MIB),
        Partition(_ESP, "EFI system", 2 * _MIB, esp),
        Partition(_ROOT, LABEL, 2 * _MIB + esp, root),
    )


def make(
    tree: Path, disk: Path, *, tools: Tools, size_mib: int, seed: str, progress: Callable[..., None]
) -> None:
    """Write the raw, sparse disk of the tree in the tar `tree`.

    `seed` names what the identifiers are derived from. Raises StageError, also when the
    tree does not fit into `size_mib`.
    """
    bios, esp, root = layout(size_mib)
    with tempfile.TemporaryDirectory(dir=disk.parent) as name:
        work = Path(name)
        progress(0, 3, "parts", "root file system")
        _ext4(tools, tree, work / "root", root.sectors * SECTOR, _derive(seed, "root"))
        progress(1, 3, "parts", "boot loader")
        core = _grub(tools, work, "i386-pc", "biosdisk linux16")
        efi = _grub(tools, work, "x86_64-efi", "efi_gop efi_uga all_video gfxterm font fat")
        _fat(tools, work / "esp", esp.sectors, efi, _derive(seed, "esp"))
        progress(2, 3, "parts", "partitions")
        with disk.open("wb") as file:
            file.truncate(size_mib << 20)
            _write_grub(file.fileno(), tools, core.read_bytes(), bios.start)
            _write_gpt(file.fileno(), (bios, esp, root), size_mib * _MIB, seed)
        for part, image in ((esp, work / "esp"), (root, work / "root")):
            copy_sparse(image, disk, part.start * SECTOR)


def _derive(seed: str, what: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"{seed}/{what}")


def _ext4(tools: Tools, tree: Path, image: Path, size: int, ident: uuid.UUID) -> None:
    """The root file system, owners and times from the tar (mke2fs 1.47.1 and later, -d)."""
    try:
        tools(
            "mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, "-L", LABEL,
            "-U", str(ident), "-m", "1",
            # Named, so that another mke2fs.conf cannot change the format.
            "-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,"
            "sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
            "-b", "4096", "-I", "256", "-i", "16384", "-J", "size=32", "-E",
            f"hash_seed={ident},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,"
            f"resize={16 << 18}",
            image, f"{size >> 10}k",
        )  # fmt: skip
    except StageError as error:
        if "Could not allocate block" in error.message:
            error.hint = "the tree does not fit: raise disk.size_mib in lab.yaml"
        raise


def _grub(tools: Tools, work: Path, target: str, modules: str) -> Path:
    """GRUB's core image for `target`, with the file system found by label (grub-mkimage)."""
    early = work / "early.cfg"
    early.write_text(_EARLY)
    core = work / f"core.{target}"
    tools(
        "grub-mkimage", "--directory", tools.path(f"usr/lib/grub/{target}"), "--format", target,
        "--config", early, "--prefix", "/boot/grub", "--output", core,
        *_CORE_MODULES.split(), *modules.split(),
    )  # fmt: skip
    return core


def _fat(tools: Tools, image: Path, sectors: int, efi: Path, ident: uuid.UUID) -> None:
    """The EFI system partition with the removable-media loader (UEFI 3.5.1.1)."""
    with image.open("wb") as file:
        file.truncate(sectors * SECTOR)
    tools("mkfs.fat", "--invariant", "-F", "32", "-s", "1", "-n", "ESP", "-i", ident.hex[:8], image)
    os.utime(efi, (tools.epoch, tools.epoch))
    tools("mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
    tools("mcopy", "-m", "-i", image, efi, "::/EFI/BOOT/BOOTX64.EFI")


def _write_grub(disk: int, tools: Tools, core: bytes, start: int) -> None:
    """boot.img into LBA 0, core.img into the BIOS boot partition, each with its next sector."""
    boot = bytearray(tools.path("usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
    struct.pack_into("<Q", boot, 0x5C, start)  # kernel_sector
    boot[0x66:0x68] = b"\x90\x90"  # boot from the drive the BIOS names
    image = bytearray(core.ljust(-(-len(core) // SECTOR) * SECTOR, b"\0"))
    struct.pack_into("<Q", image, 0x1F4, start + 1)  # first block list entry of diskboot.img
    struct.pack_into("<H", image, 0x1FC, len(image) // SECTOR - 1)
    if len(image) > _MIB * SECTOR:
        raise StageError("GRUB's core image does not fit into the BIOS boot partition")
    os.pwrite(disk, boot, 0)
    os.pwrite(disk, image, start * SECTOR)


def _write_gpt(disk: int, parts: tuple[Partition, ...], sectors: int, seed: str) -> None:
    """Protective MBR and both GPT copies (UEFI 5.2.3, 5.3.2, 5.3.3)."""
    entries = b"".join(
        struct.pack(
            "<16s16sQQQ72s",
            part.kind.bytes_le,
            _derive(seed, part.name).bytes_le,
            part.start,
            part.start + part.sectors - 1,
            0,
            part.name.encode("utf-16-le"),
        )
        for part in parts
    ).ljust(128 * 128, b"\0")
    mbr = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, sectors - 1)
    os.pwrite(disk, mbr.ljust(64, b"\0") + b"\x55\xaa", 446)
    for own, other, table in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)):
        header = bytearray(
            struct.pack(
                "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, sectors - 34,
                _derive(seed, "disk").bytes_le, table, 128, 128, zlib.crc32(entries),
            )
        )  # fmt: skip
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        os.pwrite(disk, header, own * SECTOR)
        os.pwrite(disk, entries, table * SECTOR)


def copy_sparse(source: Path, target: Path, offset: int) -> None:
    """Copy the data of a sparse file into `target` at `offset` bytes; holes stay holes."""
    with source.open("rb") as src, target.open("r+b") as dst:
        size, position = source.stat().st_size, 0
        while position < size:
            try:
                start = os.lseek(src.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            position = os.lseek(src.fileno(), start, os.SEEK_HOLE)
            src.seek(start)
            dst.seek(offset + start)
            _copy(src.fileno(), dst.fileno(), position - start)


def _copy(source: int, target: int, count: int) -> None:
    while count:
        count -= os.sendfile(target, source, None, count)


def clone(source: Path, target: Path) -> None:
    """A sparse copy of a whole disk."""
    with target.open("wb") as file:
        file.truncate(source.stat().st_size)
    copy_sparse(source, target, 0)
