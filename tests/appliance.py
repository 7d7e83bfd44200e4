"""A small appliance that is right in every respect, to be broken in one way at a time.

Its disk is made by sfdisk, mke2fs, mkfs.fat and mcopy, not by the code under test. The
sums are computed last, so that a broken part is the only fault (unless the sums are it).
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.core.files import sha256_file
from lvslab.core.procs import program
from lvslab.formats import sums, vmdk
from lvslab.model.lab import Lab
from lvslab.render.ovf import OvfDisk, ovf

SECTOR = 512
MIB = 1 << 20
DISK_MIB = 12
MTIME = 1_700_000_000
BIOS_START, ESP_START, ROOT_START = (n * MIB // SECTOR for n in (1, 2, 4))
ROOT_MIB = 7

_TABLE = f"""label: gpt
label-id: 11111111-2222-3333-4444-555555555555
first-lba: 34
start={BIOS_START}, size={MIB // SECTOR}, type=21686148-6449-6E6F-744E-656564454649
start={ESP_START}, size={2 * MIB // SECTOR}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start={ROOT_START}, size={ROOT_MIB * MIB // SECTOR}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
"""

GOOD_TREE = {
    "boot/vmlinuz-6.12-amd64": b"kernel" * 9000,
    "boot/initrd.img-6.12-amd64": b"initrd" * 9000,
    "boot/grub/grub.cfg": b"linux /boot/vmlinuz-6.12-amd64\n",
    "etc/shadow": b"root:*:20000:0:99999:7:::\nkeepalived_script:!:20000::::::\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "etc/machine-id": b"",
    "etc/ssh/sshd_config": b"PasswordAuthentication no\n",
    "root/.profile": b"umask 022\n",
    "home/.keep": b"",
    "var/lib/cloud/.keep": b"",
    "etc/cloud/cloud.cfg": b"users: [default]\nsystem_info: {default_user: {lock_passwd: true}}\n",
    "etc/cloud/cloud.cfg.d/README": b"# password: in a comment\n",
    "etc/ssl/certs/ca.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "usr/bin/vmtoolsd": b"\x7fELF tools",
    "etc/systemd/system/multi-user.target.wants/open-vm-tools.service": b"[Unit]\n",
    # Grains that do not compress, so that markers and sizes of all kinds occur.
    "usr/noise": b"".join(hashlib.sha256(bytes([i // 256, i % 256])).digest() for i in range(9999)),
}


BREAKS_SCHEMA = {
    "unknown section": ("<DiskSection>(.*)</DiskSection>", r"<DiskSektion>\1</DiskSektion>"),
    "type in words": ("<rasd:ResourceType>10<", "<rasd:ResourceType>ten<"),
    "disk without id": ('ovf:diskId="vmdisk1"', ""),
    "section without Info": ("<Info>Virtual disks</Info>", ""),
    "unknown value": ("<rasd:InstanceID>1<", "<rasd:Zebra>1</rasd:Zebra><rasd:InstanceID>1<"),
    "machine without id": (r'<VirtualSystem ovf:id="\w*"', "<VirtualSystem"),
    "unknown element": ("<OperatingSystemSection", "<Colour>red</Colour><OperatingSystemSection"),
    "hardware without Info": ("<Info>Virtual hardware</Info>", ""),
    "device without a name": (r"<rasd:ElementName>Ethernet 1</rasd:ElementName>", ""),
    "amount below zero": ("Quantity>512<", "Quantity>-512<"),
    "network without a name": ('ovf:name="nat"', ""),
    "file without a name": (r'ovf:href="[^"]*"', ""),
    "no word of logic": ('ovf:required="false"', 'ovf:required="perhaps"'),
}
"""Ways to break an OVF that DMTF's schema refuses: a pattern, and what is there then."""


def run(*words: object) -> None:
    """Run a program; its output is shown only when it fails."""
    argv = [program(str(words[0])), *map(str, words[1:])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def make_disk(
    folder: Path,
    tree: dict[str, bytes] = GOOD_TREE,
    *,
    loader: str | None = "BOOTX64.EFI",
    loader_bytes: bytes = b"MZ" + bytes(2000),
) -> bytes:
    """A bootable-looking raw disk: protective MBR with boot code, GPT, core, ESP, ext4."""
    folder.mkdir(parents=True, exist_ok=True)
    disk, esp, root, top = (folder / name for name in ("disk", "esp", "root", "tree"))
    disk.write_bytes(b"")
    with disk.open("r+b") as file:
        file.truncate(DISK_MIB * MIB)
    subprocess.run(
        [program("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", disk],
        input=_TABLE.encode(),
        check=True,
        timeout=60,
        capture_output=True,
    )
    for name, content in tree.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", top, root, f"{ROOT_MIB}m")
    with esp.open("wb") as file:
        file.truncate(2 * MIB)
    run("mkfs.fat", "--invariant", esp)
    run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    if loader:
        (folder / loader).write_bytes(loader_bytes)
        run("mcopy", "-i", esp, folder / loader, f"::/EFI/BOOT/{loader}")
    data = bytearray(disk.read_bytes())
    data[0:8] = b"\xeb\x63\x90GRUB\0"
    struct.pack_into("<Q", data, 0x5C, BIOS_START)
    core = BIOS_START * SECTOR
    data[core : core + 4 * SECTOR] = b"\x52" * (4 * SECTOR)
    struct.pack_into("<QH", data, core + 0x1F4, BIOS_START + 1, 3)
    for start, part in ((ESP_START, esp), (ROOT_START, root)):
        content = part.read_bytes()
        data[start * SECTOR : start * SECTOR + len(content)] = content
    return bytes(data)


@dataclass
class Appliance:
    """An OVA before it is packed. What is None is made from the rest by `write`."""

    disk_vmdk: bytes
    ovf: str
    capacity: int
    ovf_bytes: bytes | None = None
    name: str = "director"
    order: tuple[str, ...] = ("ovf", "mf", "vmdk")
    manifest: str | None = None
    tar_format: int = tarfile.USTAR_FORMAT
    member: Callable[[tarfile.TarInfo], None] = field(default=lambda info: None)
    extra: tuple[tuple[str, bytes], ...] = ()
    packed: Callable[[bytes], bytes] = field(default=lambda data: data)

    @property
    def vmdk_name(self) -> str:
        return f"{self.name}-disk1.vmdk"

    @property
    def descriptor(self) -> bytes:
        """The OVF as it is packed."""
        return self.ovf.encode() if self.ovf_bytes is None else self.ovf_bytes

    def sums(self) -> str:
        """A right manifest of the parts as they are."""
        files = [(f"{self.name}.ovf", self.descriptor), (self.vmdk_name, self.disk_vmdk)]
        return "".join(f"SHA256({n})= {hashlib.sha256(d).hexdigest()}\n" for n, d in files)

    def write(self, path: Path) -> Path:
        """Pack it."""
        manifest = self.sums() if self.manifest is None else self.manifest
        parts = {
            "ovf": (f"{self.name}.ovf", self.descriptor),
            "mf": (f"{self.name}.mf", manifest.encode()),
            "vmdk": (self.vmdk_name, self.disk_vmdk),
        }
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=self.tar_format) as tar:
            for name, data in (*(parts[key] for key in self.order), *self.extra):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), MTIME
                self.member(info)
                tar.addfile(info, io.BytesIO(data))
        path.write_bytes(self.packed(buffer.getvalue()))
        return path


def appliance(lab: Lab, folder: Path, disk: bytes) -> Appliance:
    """A right appliance of the director with this disk."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, file = folder / "appliance.raw", folder / "appliance.vmdk"
    raw.write_bytes(disk)
    written = vmdk.write_stream_optimized(raw, file)
    described = OvfDisk("director-disk1.vmdk", written.size, written.capacity, written.populated)
    return Appliance(file.read_bytes(), ovf(lab, "director", [described]), written.capacity)


def write_sums(folder: Path, files: Sequence[Path]) -> None:
    """Write the SHA256SUMS of `files` into `folder`, as a build does."""
    digests = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    (folder / sums.NAME).write_text(sums.text(digests))
