"""What must not be on a disk, and what must be there for it to boot, is seen in the VMDK."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lvslab.formats import vmdk
from lvslab.model.load import load_lab
from lvslab.verify import RULES, Finding, Outcome, verify
from tests.appliance import BIOS_START, GOOD_TREE, MIB, ROOT_MIB, ROOT_START, SECTOR, make_disk, run
from tests.conftest import ROOT
from tests.unit.verify.conftest import Pinned

LAB = load_lab(ROOT / "lab.yaml")
KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def looked_at(disk: bytes, folder: Path, *, sparse: bool = False) -> list[Finding]:
    raw, file = folder / "verify.raw", folder / "verify.vmdk"
    raw.write_bytes(disk)
    write = vmdk.write_monolithic_sparse if sparse else vmdk.write_stream_optimized
    write(raw, file)
    findings = verify(file, LAB)
    assert all(f.outcome is not Outcome.SKIP or failed(findings) for f in findings)
    return findings


def failing(disk: bytes, folder: Path, *, sparse: bool = False) -> set[str]:
    return failed(looked_at(disk, folder, sparse=sparse))


def failed(findings: list[Finding]) -> set[str]:
    return {f.rule.id for f in findings if f.outcome is Outcome.FAIL}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_disk(tmp_path_factory.mktemp("disk"))


@pytest.mark.parametrize("sparse", [False, True], ids=["streamOptimized", "monolithicSparse"])
def test_a_right_disk_passes(good: bytes, tmp_path: Path, sparse: bool) -> None:
    assert failing(good, tmp_path, sparse=sparse) == set()


CFG = "etc/cloud/cloud.cfg.d"
DEFAULT_USER = b"system_info: {default_user: {name: debian, plain_text_passwd: x}}\n"
SHADOW = GOOD_TREE["etc/shadow"]

TREES: list[tuple[str, Mapping[str, bytes | None], set[str]]] = [
    (
        "root with a password",
        {"etc/shadow": SHADOW.replace(b"root:*", b"root:$6$salt$hash")},
        {"disk-no-password"},
    ),
    (
        "root without a password",
        {"etc/shadow": SHADOW.replace(b"root:*", b"root:")},
        {"disk-no-password"},
    ),
    ("no shadow", {"etc/shadow": None}, {"disk-no-password"}),
    (
        "password in passwd",
        {"etc/passwd": b"root:$6$salt$hash:0:0:root:/root:/bin/sh\n"},
        {"disk-no-password"},
    ),
    ("host key", {"etc/ssh/ssh_host_ed25519_key": KEY}, {"disk-no-host-key"}),
    ("public host key", {"etc/ssh/ssh_host_rsa_key.pub": b"ssh-rsa A"}, {"disk-no-host-key"}),
    ("snake oil", {"etc/ssl/private/ssl-cert-snakeoil.key": KEY}, {"disk-no-host-key"}),
    ("root's private key", {"root/.ssh/id_ed25519": KEY}, {"disk-no-host-key"}),
    (
        "key of the bake",
        {"root/.ssh/authorized_keys": b"ssh-ed25519 A packer\n"},
        {"disk-no-authorized-key"},
    ),
    (
        "key of a user",
        {"home/packer/.ssh/authorized_keys2": b"ssh-ed25519 A\n"},
        {"disk-no-authorized-key"},
    ),
    *(
        (f"private key below {folder}", {f"{folder}/deep/key.txt": KEY}, {"disk-no-host-key"})
        for folder in ("etc/apache2", "opt", "srv", "var/lib/tls", "home/packer")
    ),
    ("encrypted key", {"srv/k": KEY.replace(b"OPENSSH", b"ENCRYPTED")}, {"disk-no-host-key"}),
    ("PuTTY's key", {"opt/k.ppk": b"PuTTY-User-Key-File-3: ssh-rsa\n"}, {"disk-no-host-key"}),
    (
        "keys where sshd is set to look",
        {"etc/ssh/authorized_keys/root": b"ssh-ed25519 A\n"},
        {"disk-no-authorized-key"},
    ),
    (
        "keys of a service",
        {"var/lib/git/.ssh/authorized_keys": b"ssh-ed25519 A\n"},
        {"disk-no-authorized-key"},
    ),
    (
        "netrc",
        {"root/.netrc": b"machine x login y password z\n"},
        {"disk-no-authorized-key"},
    ),
    *(
        (f"cloud-init: {what}", {name: text}, {"disk-no-cloud-password"})
        for what, name, text in (
            ("plain password", f"{CFG}/99_pw.cfg", b"password: secret\n"),
            ("chpasswd's list", f"{CFG}/99_pw.cfg", b"chpasswd:\n  list: |\n    root:secret\n"),
            ("user's password", f"{CFG}/a.cfg", b"users: [{name: a, plain_text_passwd: b}]\n"),
            ("hash", f"{CFG}/a.cfg", b"users: [{name: a, hashed_passwd: $6$x$y}]\n"),
            ("default user", "etc/cloud/cloud.cfg", DEFAULT_USER),
            ("key", f"{CFG}/a.cfg", b"ssh_authorized_keys: [ssh-ed25519 A]\n"),
            ("host key", f"{CFG}/a.cfg", b"ssh_keys: {rsa_private: x}\n"),
            ("seed", "var/lib/cloud/seed/nocloud/user-data", b"#cloud-config\npassword: x\n"),
            ("not YAML", "var/lib/cloud/seed/nocloud/user-data", b"a: [\n password: x\n"),
        )
    ),
    ("history", {"root/.bash_history": b"passwd\n"}, {"disk-no-authorized-key"}),
    ("machine id", {"etc/machine-id": b"0123456789abcdef" * 2 + b"\n"}, {"disk-machine-id"}),
    ("no machine id file", {"etc/machine-id": None}, {"disk-machine-id"}),
    (
        "D-Bus's machine id",
        {"var/lib/dbus/machine-id": b"0123456789abcdef" * 2 + b"\n"},
        {"disk-machine-id"},
    ),
    ("random seed", {"var/lib/systemd/random-seed": b"\1" * 32}, {"disk-no-state"}),
    (
        "cloud-init's user-data",
        {"var/lib/cloud/instances/bake/user-data.txt": b"#cloud-config\n"},
        {"disk-no-state"},
    ),
    ("no kernel", {"boot/vmlinuz-6.12-amd64": None}, {"disk-root"}),
    ("no initrd", {"boot/initrd.img-6.12-amd64": None}, {"disk-root"}),
    ("no menu", {"boot/grub/grub.cfg": None}, {"disk-root"}),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [case[1:] for case in TREES], ids=[case[0] for case in TREES]
)
def test_a_secret_or_a_missing_file_is_found(
    tmp_path: Path, changes: dict[str, bytes | None], expected: set[str], pinned: Pinned
) -> None:
    merged = {**GOOD_TREE, **changes}
    tree = {name: content for name, content in merged.items() if content is not None}
    findings = looked_at(make_disk(tmp_path / "disk", tree), tmp_path)
    assert failed(findings) == expected
    pinned(findings)


Change = Callable[[bytearray], None]


def blank(start: int, count: int) -> Change:
    def change(disk: bytearray) -> None:
        disk[start : start + count] = bytes(count)

    return change


def put(offset: int, form: str, value: int) -> Change:
    return lambda disk: struct.pack_into(form, disk, offset, value)


def with_crcs(change: Callable[[bytearray, int, int], None], copies: int = 2) -> Change:
    """Change so many copies of the GPT, each header and table at an offset, with right CRCs."""

    def apply(disk: bytearray) -> None:
        last = len(disk) // SECTOR - 1
        for header in (last * SECTOR, SECTOR)[:copies]:
            start = struct.unpack_from("<Q", disk, header + 72)[0] * SECTOR
            change(disk, header, start)
            table = zlib.crc32(disk[start : start + 128 * 128])
            struct.pack_into("<I", disk, header + 88, table)
            struct.pack_into("<I", disk, header + 16, 0)
            struct.pack_into("<I", disk, header + 16, zlib.crc32(disk[header : header + 92]))

    return apply


def no_partition(*kinds_at: int) -> Change:
    """Take entries out of both tables."""

    def change(disk: bytearray, header: int, table: int) -> None:
        for at in kinds_at:
            disk[table + at * 128 : table + at * 128 + 128] = bytes(128)

    return with_crcs(change)


def rename_partition(disk: bytearray, header: int, table: int) -> None:
    disk[table + 56] ^= 1


def move_header(disk: bytearray, header: int, table: int) -> None:
    struct.pack_into("<Q", disk, header + 24, 5)


def longer_partition(disk: bytearray, header: int, table: int) -> None:
    struct.pack_into("<Q", disk, table + 40, len(disk) // SECTOR - 1)


def longest_partition(disk: bytearray, header: int, table: int) -> None:
    """It ends with the last sector that is not the GPT's."""
    struct.pack_into("<Q", disk, table + 40, len(disk) // SECTOR - 2)


BIOS = BIOS_START * SECTOR
LOADERS = {"disk-bios-loader", "disk-uefi-loader"}
RAW: list[tuple[str, Change, set[str]]] = [
    ("no boot code", blank(0, 440), {"disk-mbr", "disk-bios-loader"}),
    ("no signature", blank(510, 2), {"disk-mbr"}),
    ("no protective partition", put(450, "B", 0x83), {"disk-mbr"}),
    ("no GPT", blank(SECTOR, SECTOR), {"disk-gpt"}),
    ("wrong CRC of the header", put(SECTOR + 56, "<I", 1), {"disk-gpt"}),
    ("wrong CRC of the table", put(2 * SECTOR + 56, "<I", 1), {"disk-gpt"}),
    ("no second GPT", blank(12 * 1024 * 1024 - SECTOR, SECTOR), {"disk-gpt"}),
    ("boot code loads another sector", put(0x5C, "<Q", 63), {"disk-bios-loader"}),
    ("no core image", blank(BIOS, 4 * SECTOR), {"disk-bios-loader"}),
    ("core goes on elsewhere", put(BIOS + 0x1F4, "<Q", 1), {"disk-bios-loader"}),
    ("impossible header", put(SECTOR + 12, "<I", 91), {"disk-gpt"}),
    ("header of two sectors", put(SECTOR + 12, "<I", 513), {"disk-gpt"}),
    ("a GPT that is elsewhere", with_crcs(move_header), {"disk-gpt"}),
    ("tables that differ", with_crcs(rename_partition, copies=1), {"disk-gpt"}),
    ("tables that are equal", with_crcs(rename_partition), set()),
    ("partition beyond the end", with_crcs(longer_partition), {"disk-gpt"}),
    ("partition up to the end", with_crcs(longest_partition), set()),
    ("no partition at all", no_partition(0, 1, 2), {"disk-root", *LOADERS}),
    ("no core", put(BIOS + 0x1FC, "<H", 0), {"disk-bios-loader"}),
    ("core larger than its place", put(BIOS + 0x1FC, "<H", 0xFFFF), {"disk-bios-loader"}),
    ("no BIOS boot partition", no_partition(0), {"disk-bios-loader"}),
    ("no EFI system partition", no_partition(1), {"disk-uefi-loader"}),
    ("no root file system", blank(ROOT_START * SECTOR, 4096), {"disk-root"}),
]


@pytest.mark.parametrize(
    ("change", "expected"), [case[1:] for case in RAW], ids=[case[0] for case in RAW]
)
def test_a_disk_that_does_not_boot_is_found(
    good: bytes, tmp_path: Path, change: Change, expected: set[str], pinned: Pinned
) -> None:
    disk = bytearray(good)
    change(disk)
    findings = looked_at(bytes(disk), tmp_path)
    assert failed(findings) == expected
    pinned(findings)


def test_the_uefi_loader_is_asked_for(tmp_path: Path) -> None:
    without = make_disk(tmp_path / "without", loader=None)
    assert failing(without, tmp_path) == {"disk-uefi-loader"}
    other = make_disk(tmp_path / "other", loader_bytes=b"#!/bin/sh\n")
    assert failing(other, tmp_path) == {"disk-uefi-loader"}


def test_folders_in_a_ring_are_reported_and_not_followed(good: bytes, tmp_path: Path) -> None:
    start, end = ROOT_START * SECTOR, (ROOT_START * SECTOR) + ROOT_MIB * MIB
    (tmp_path / "root").write_bytes(good[start:end])
    for name in ("a", "b"):
        run("debugfs", "-w", "-R", f"ln /etc /etc/{name}", tmp_path / "root")
    disk = good[:start] + (tmp_path / "root").read_bytes() + good[end:]
    assert {"disk-no-host-key", "disk-no-authorized-key"} <= failing(disk, tmp_path)


def test_every_rule_of_a_disk_is_broken_by_a_case() -> None:
    broken = set().union(*(case[2] for case in TREES), *(case[2] for case in RAW))
    assert {rule for rule in RULES if rule.startswith("disk-")} - broken == set()


def sparse_file(good: bytes, folder: Path) -> Path:
    (folder / "raw").write_bytes(good)
    vmdk.write_monolithic_sparse(folder / "raw", folder / "disk.vmdk")
    return folder / "disk.vmdk"


SPARSE: list[tuple[str, int, str, int, set[str]]] = [
    ("stream's version", 4, "<I", 3, {"sparse-header"}),
    ("not closed", 72, "B", 1, {"sparse-header"}),
    ("tables differ", 22 * SECTOR, "<I", 0, {"sparse-redundant"}),
    ("smaller tables", 44, "<I", 256, {"sparse-header"}),
]


@pytest.mark.parametrize(
    ("offset", "form", "value", "expected"),
    [case[1:] for case in SPARSE],
    ids=[case[0] for case in SPARSE],
)
def test_a_broken_sparse_disk_is_refused(
    good: bytes, tmp_path: Path, offset: int, form: str, value: int, expected: set[str]
) -> None:
    file = sparse_file(good, tmp_path)
    data = bytearray(file.read_bytes())
    struct.pack_into(form, data, offset, value)
    file.write_bytes(data)
    assert failed(verify(file, LAB)) == expected


Places = Callable[[int, int, int], int]
PLACES: dict[str, tuple[Places, str]] = {
    "two grains in one place": (lambda first, second, front: first, "two grains have the same"),
    "a grain in front": (lambda first, second, front: front - 1, "is before the first grain"),
    "not aligned": (lambda first, second, front: second + 1, "is not aligned"),
}


@pytest.mark.parametrize(("place", "says"), PLACES.values(), ids=PLACES)
def test_a_grain_of_a_sparse_disk_has_its_own_place(
    good: bytes, tmp_path: Path, place: Places, says: str
) -> None:
    """Changed in both copies of the tables, so that they still agree."""
    file = sparse_file(good, tmp_path)
    data = bytearray(file.read_bytes())
    with vmdk.Reader(file) as reader:
        first, second = sorted(reader.entries)[:2]
        places = reader.entries
        wanted = place(places[first], places[second], reader.header.overhead)
        for directory in (reader.header.directory_offset, reader.header.redundant_directory_offset):
            (table,) = struct.unpack_from("<I", data, directory * SECTOR)
            struct.pack_into("<I", data, table * SECTOR + 4 * second, wanted)
    file.write_bytes(data)
    found = [f for f in verify(file, LAB) if f.rule.id.startswith("sparse-")]
    assert failed(found) == {"sparse-grains"}
    assert any(says in f.sentence for f in found)


def test_a_sparse_disk_that_is_cut_off_is_refused(good: bytes, tmp_path: Path) -> None:
    file = sparse_file(good, tmp_path)
    file.write_bytes(file.read_bytes()[:-SECTOR])
    assert "sparse-grains" in failed(verify(file, LAB))


def test_a_sparse_disk_of_another_adapter_is_refused(good: bytes, tmp_path: Path) -> None:
    file = sparse_file(good, tmp_path)
    data = file.read_bytes().replace(b'= "lsilogic"', b'= "buslogic"', 1)
    file.write_bytes(data)
    assert failed(verify(file, LAB)) == {"sparse-adapter"}


def test_qemu_imgs_sparse_disk_can_be_verified(good: bytes, tmp_path: Path) -> None:
    """Others' files too: QEMU's differ from ours in the adapter and the table flag at most."""
    (tmp_path / "raw").write_bytes(good)
    run("qemu-img", "convert", "-O", "vmdk", tmp_path / "raw", tmp_path / "qemu.vmdk")
    found = {f.rule.id: f for f in verify(tmp_path / "qemu.vmdk")}
    assert found["sparse-redundant"].outcome is Outcome.PASS
    assert found["disk-root"].outcome is Outcome.PASS
