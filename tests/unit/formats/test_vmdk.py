"""The VMDK writer against readers that others wrote, and the reader against broken bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dissect.hypervisor.disk.vmdk import VMDK
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.errors import StageError
from lvslab.core.procs import program
from lvslab.formats import vmdk
from lvslab.formats.vmdk import writer
from lvslab.formats.vmdk.layout import GRAIN, SECTOR, VmdkError
from lvslab.formats.vmdk.reader import Descriptor
from tests.strategies import examples

Write = Callable[[Path, Path], vmdk.Written]
WRITERS: dict[str, Write] = {
    "streamOptimized": vmdk.write_stream_optimized,
    "monolithicSparse": vmdk.write_monolithic_sparse,
}
both = pytest.mark.parametrize("kind", list(WRITERS))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def disk(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A sparse raw disk with these pieces at these offsets."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


MIB = 1 << 20
DISKS: dict[str, tuple[int, dict[int, bytes]]] = {
    "sparse": (300 * MIB, {0: b"boot", 70 * MIB + 5: noise(99_999), 299 * MIB: b"x" * 9999}),
    "dense": (3 * MIB, {0: noise(3 * MIB)}),
    "text": (3 * MIB, {0: b"a line of text\n" * 200_000}),
    "all zero": (10 * MIB, {}),
    "zeros that were written": (2 * MIB, {0: bytes(MIB)}),
    "last grain does not compress": (2 * MIB, {2 * MIB - GRAIN: noise(GRAIN)}),
    "first and last sector": (64 * MIB, {0: b"\1", 64 * MIB - 1: b"\1"}),
    "one sector": (SECTOR, {0: noise(SECTOR)}),
    "not a multiple of a grain": (GRAIN * 3 + 7 * SECTOR, {GRAIN * 3: noise(7 * SECTOR)}),
    "not a multiple of a sector": (GRAIN + 700, {GRAIN: noise(700)}),
    "more than one directory sector": (5 << 30, {(5 << 30) - 9: b"end", 4 << 30: b"4 GiB"}),
}


def qemu_img(*words: object) -> str:
    argv = [program("qemu-img"), *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@both
@pytest.mark.parametrize("name", list(DISKS))
def test_others_read_what_was_written(tmp_path: Path, kind: str, name: str) -> None:
    size, pieces = DISKS[name]
    raw = disk(tmp_path / "raw", size, pieces)
    file = tmp_path / "disk.vmdk"
    written = WRITERS[kind](raw, file)
    assert written.size == file.stat().st_size
    assert written.capacity == -(-size // SECTOR) * SECTOR
    with raw.open("r+b") as padded:
        padded.truncate(written.capacity)

    qemu_img("check", "-f", "vmdk", file)
    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, file)
    info = json.loads(qemu_img("info", "--output=json", file))
    assert info["virtual-size"] == written.capacity
    assert info["format-specific"]["data"]["create-type"] == kind
    assert info["format-specific"]["data"]["cid"] == int(written.content_id[-8:], 16)

    if size % GRAIN == 0:  # dissect reads past the end of a disk of another size
        with file.open("rb") as opened:
            other = VMDK(opened)
            for offset, data in pieces.items():
                other.seek(offset)
                assert other.read(len(data)) == data

    with vmdk.Reader(file) as reader:
        assert sum(map(reader.grain_length, reader.entries)) == written.populated
        reader.check_grains()
        reader.extract(tmp_path / "again")
    qemu_img("compare", "-f", "raw", "-F", "raw", raw, tmp_path / "again")


def test_the_last_sector_is_the_end_of_stream_and_nothing_follows(tmp_path: Path) -> None:
    for number, (size, pieces) in enumerate(DISKS.values()):
        file = tmp_path / f"{number}.vmdk"
        vmdk.write_stream_optimized(disk(tmp_path / "raw", size, pieces), file)
        with vmdk.Reader(file) as reader:
            *grains, last = reader.markers()
            assert (last.lba, last.size, last.kind) == (0, 0, 0)
            assert (last.sector + 1) * SECTOR == file.stat().st_size
            assert {m.lba // 128: m.sector for m in grains} == reader.entries
            assert [m.lba for m in grains] == sorted(m.lba for m in grains)


def test_the_header_is_that_of_open_vmdk(tmp_path: Path) -> None:
    """Fields as vmware/open-vmdk writes them (vmdk/sparse.c, StreamOptimized_Create)."""
    raw = disk(tmp_path / "raw", 64 * MIB, {0: b"x"})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    data = (tmp_path / "disk.vmdk").read_bytes()
    fields = struct.unpack_from("<4sIIQQQQIQQQB4sH", data)
    tables_end = 21 + 1 + 2 * 4
    assert fields == (
        b"KDMV", 3, 0x30001, 131072, 128, 1, 20, 512, 0, 21, tables_end, 0, b"\n \r\n", 1,
    )  # fmt: skip
    assert struct.unpack_from("<2I", data, 21 * SECTOR) == (22, 26)


def test_the_descriptor(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 64 * MIB, {0: b"x"})
    written = vmdk.write_stream_optimized(raw, tmp_path / "some-name.vmdk")
    with vmdk.Reader(tmp_path / "some-name.vmdk") as reader:
        values, extents = reader.descriptor.values, reader.descriptor.extents
    assert extents == ((131072, "disk.vmdk"),)
    assert values["ddb.adapterType"] == "lsilogic"
    assert values["ddb.toolsInstallType"] == "4"
    assert values["ddb.toolsVersion"] == "2147483647"
    assert values["parentCID"] == "ffffffff"
    assert values["ddb.longContentID"] == written.content_id
    assert values["CID"] == written.content_id[-8:]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@both
def test_the_same_disk_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    """On any number of threads, from a sparse or a dense file."""
    size = 40 * MIB
    pieces = {7 * MIB: noise(5 * MIB), 30 * MIB: b"text " * MIB}
    sparse = disk(tmp_path / "sparse", size, pieces)
    dense = tmp_path / "dense"
    dense.write_bytes(sparse.read_bytes())
    write: Any = WRITERS[kind]
    sums = set()
    for number, (raw, threads) in enumerate([(sparse, 1), (sparse, 2), (sparse, 7), (dense, 3)]):
        folder = tmp_path / str(number)
        write(raw, folder / "disk.vmdk", threads=threads)
        sums.add(sha(folder / "disk.vmdk"))
    assert len(sums) == 1


def test_the_content_id_follows_the_content_only(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 4 * MIB, {MIB: b"one"})
    first = vmdk.write_stream_optimized(raw, tmp_path / "a.vmdk", level=1)
    second = vmdk.write_stream_optimized(raw, tmp_path / "b.vmdk", level=12)
    third = vmdk.write_monolithic_sparse(raw, tmp_path / "c.vmdk")
    moved = disk(tmp_path / "moved", 4 * MIB, {2 * MIB: b"one"})
    larger = disk(tmp_path / "larger", 5 * MIB, {MIB: b"one"})
    assert first.content_id == second.content_id == third.content_id
    others = {
        vmdk.write_stream_optimized(path, tmp_path / "d.vmdk").content_id
        for path in (moved, larger)
    }
    assert len(others | {first.content_id}) == 3


def test_reserved_content_ids_are_never_given() -> None:
    assert writer._content_id("0" * 24 + "ffffffff" + "1" * 32)[-8:] == "11111111"
    assert writer._content_id("0" * 24 + "fffffffe" + "12345678" + "0" * 24)[-8:] == "12345678"
    assert writer._content_id("f" * 64)[-8:] == "00000000"


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 200 * MIB, {0: noise(9 * MIB), 150 * MIB: noise(2 * MIB)})
    seen: list[tuple[int, int, str]] = []
    vmdk.write_stream_optimized(
        raw,
        tmp_path / "disk.vmdk",
        progress=lambda done, total, unit: seen.append((done, total, unit)),
    )
    assert seen[-1] == (11 * MIB, 11 * MIB, "B")
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


@both
def test_a_child_reads_as_its_parent(tmp_path: Path, kind: str) -> None:
    raw = disk(tmp_path / "raw", 5 * MIB, {MIB: noise(2 * MIB)})
    (tmp_path / "base").mkdir()
    WRITERS[kind](raw, tmp_path / "base" / "parent.vmdk")
    child = tmp_path / "child.vmdk"
    vmdk.write_child(child, tmp_path / "base" / "parent.vmdk", "base/parent.vmdk")
    assert child.stat().st_size < 100_000
    qemu_img("check", child)
    qemu_img("compare", "-F", "raw", child, raw)


# --- errors -------------------------------------------------------------------------------


@both
def test_a_disk_without_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "raw").write_bytes(b"")
    with pytest.raises(StageError, match="the disk has no bytes"):
        WRITERS[kind](tmp_path / "raw", tmp_path / "disk.vmdk")
    assert not (tmp_path / "disk.vmdk").exists()


def test_a_disk_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        vmdk.write_stream_optimized(tmp_path / "raw", tmp_path / "disk.vmdk")


def test_a_disk_that_shrinks_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 30 * MIB, {0: noise(30 * MIB)})
    (tmp_path / "disk.vmdk").write_text("the old one")
    threads = threading.active_count()

    def shrink(done: int, total: int, unit: str) -> None:
        os.truncate(raw, MIB)

    with pytest.raises(StageError, match="became shorter"):
        vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk", progress=shrink)
    assert (tmp_path / "disk.vmdk").read_text() == "the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk.vmdk", "raw"]
    assert threading.active_count() == threads


_CHILD = """
import pathlib, resource, signal, sys
from lvslab.formats import vmdk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
try:
    vmdk.write_stream_optimized(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
except OSError as error:
    sys.exit(f"errno {error.errno}")
"""


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 30 * MIB, {0: noise(30 * MIB)})
    target = tmp_path / "out" / "disk.vmdk"
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, raw, target], capture_output=True, text=True, timeout=120
    )
    assert done.stderr.strip() == f"errno {errno.EFBIG}"
    assert list(target.parent.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 30 * MIB, {0: noise(30 * MIB)})
    small = tmp_path / "small"
    small.mkdir()
    mount = [program("mount"), "-t", "tmpfs", "-o", "size=4m", "lvslab-test", str(small)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(OSError) as caught:
            vmdk.write_stream_optimized(raw, small / "disk.vmdk")
        assert caught.value.errno == errno.ENOSPC
        assert list(small.iterdir()) == []
    finally:
        subprocess.run([program("umount"), small], check=True)


_SLOW = """
import pathlib, sys, time
from lvslab.formats import vmdk
def progress(done, total, unit):
    print(done, flush=True)
    time.sleep(0.05)
vmdk.write_stream_optimized(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.slow
def test_killed_it_leaves_the_old_file_and_the_next_run_is_right(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 24 * MIB, {0: noise(24 * MIB)})
    target = tmp_path / "disk.vmdk"
    target.write_text("the old one")
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, raw, target], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert target.read_text() == "the old one"
    vmdk.write_stream_optimized(raw, target)
    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, target)


@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    """200 MiB that do not compress pass through without being held."""
    raw = tmp_path / "raw"
    piece = noise(8 * MIB)
    with raw.open("wb") as file:
        for _ in range(25):
            file.write(piece)
    code = (
        "import pathlib, sys\n"
        "from lvslab.formats import vmdk\n"
        "vmdk.write_stream_optimized(*map(pathlib.Path, sys.argv[1:]), level=1, threads=2)\n"
        "print(pathlib.Path('/proc/self/status').read_text())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, raw, tmp_path / "disk.vmdk"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    # Not ru_maxrss: that of a new process begins with its parent's.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak) < 100 << 10, f"{int(peak) >> 10} MiB"


# --- the reader ---------------------------------------------------------------------------


@examples(25)
@given(
    sectors=st.integers(1, 3000),
    pieces=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 200_000), st.integers()), max_size=4),
    kind=st.sampled_from(list(WRITERS)),
)
def test_any_disk_comes_back(
    tmp_path: Path, sectors: int, pieces: list[tuple[float, int, int]], kind: str
) -> None:
    content = bytearray(sectors * SECTOR)
    for place, length, seed in pieces:
        start = int(place * (len(content) - 1))
        data = noise(length, seed)[: len(content) - start]
        content[start : start + len(data)] = data
    (tmp_path / "raw").write_bytes(content)
    WRITERS[kind](tmp_path / "raw", tmp_path / "disk.vmdk")
    with vmdk.Reader(tmp_path / "disk.vmdk") as reader:
        assert reader.disk().read() == content
        file = reader.disk()
        file.seek(-SECTOR, os.SEEK_END)
        assert file.read(9999) == content[-SECTOR:]
        assert file.read() == b""


def test_a_disk_inside_another_file_is_read_in_place(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 2 * MIB, {MIB: b"hello"})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    inner = (tmp_path / "disk.vmdk").read_bytes()
    (tmp_path / "archive").write_bytes(b"!" * 777 + inner + b"?" * 999)
    with vmdk.Reader(tmp_path / "archive", 777, len(inner)) as reader:
        assert reader.read_at(MIB, 5) == b"hello"
        assert list(reader.markers())[-1].kind == 0


def test_a_footer_is_followed(tmp_path: Path) -> None:
    """As ovftool writes: the directory's place is in a footer at the end."""
    raw = disk(tmp_path / "raw", 2 * MIB, {MIB: b"hello"})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    data = bytearray((tmp_path / "disk.vmdk").read_bytes())
    footer = bytes(data[:SECTOR])
    struct.pack_into("<Q", data, 56, (1 << 64) - 1)
    marker = struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
    (tmp_path / "footer.vmdk").write_bytes(bytes(data[:-SECTOR]) + marker + footer + bytes(SECTOR))
    with vmdk.Reader(tmp_path / "footer.vmdk") as reader:
        assert reader.read_at(MIB, 5) == b"hello"
        assert [m.kind for m in reader.markers()] == [-1, 3, 0]
    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, tmp_path / "footer.vmdk")


@pytest.mark.parametrize(
    ("offset", "form", "value", "rule"),
    [
        (0, "<I", 0, "header"),
        (12, "<Q", 0, "header"),
        (20, "<Q", 0, "header"),
        (44, "<I", 0, "header"),
        (28, "<Q", 0, "descriptor"),
        (SECTOR, "<I", 0, "descriptor"),
        (56, "<Q", 1 << 50, "grain-tables"),
        (21 * SECTOR, "<I", 1 << 31, "grain-tables"),
        (21 * SECTOR, "<I", 26, "grain-tables"),
    ],
)
def test_a_broken_front_is_refused(
    tmp_path: Path, offset: int, form: str, value: int, rule: str
) -> None:
    raw = disk(tmp_path / "raw", 64 * MIB, {MIB: b"hello"})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    changed(tmp_path / "disk.vmdk", (offset, form, value))
    with pytest.raises(VmdkError) as caught:
        vmdk.Reader(tmp_path / "disk.vmdk")
    assert caught.value.rule == rule


def changed(path: Path, *values: tuple[int, str, int]) -> Path:
    """A disk with numbers of its front changed: offset, form, value."""
    data = bytearray(path.read_bytes())
    for offset, form, value in values:
        struct.pack_into(form, data, offset, value)
    path.write_bytes(data)
    return path


def test_a_table_that_is_not_there_has_no_grain_and_the_others_count(tmp_path: Path) -> None:
    """Others leave out the table of an empty part; a table is 32 MiB of the disk."""
    raw = disk(tmp_path / "raw", 70 * MIB, {65 * MIB: b"hello"})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    with vmdk.Reader(tmp_path / "disk.vmdk") as reader:
        entries, start = reader.entries, reader.header.directory_offset * SECTOR
        assert len(reader.directory) == 3
    changed(tmp_path / "disk.vmdk", (start, "<I", 0), (start + 4, "<I", 0))
    with vmdk.Reader(tmp_path / "disk.vmdk") as reader:
        assert reader.directory[:2] == (0, 0)
        assert reader.entries == entries == {65 * 16: reader.entries[65 * 16]}
        assert reader.read_at(65 * MIB, 5) == b"hello"


GRAIN_SIZE, TABLE_SIZE, CAPACITY = 20, 44, 12


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((GRAIN_SIZE, "<Q", 2048), ""),
        ((GRAIN_SIZE, "<Q", 2049), "impossible grain size 2049 sectors"),
        ((GRAIN_SIZE, "<Q", 0), "impossible grain size 0 sectors"),
        ((TABLE_SIZE, "<I", 0), "impossible grain size 128 sectors"),
        ((CAPACITY, "<Q", (512 * 128) * (1 << 20)), "the grain directory lies outside the file"),
        ((CAPACITY, "<Q", (512 * 128) * (1 << 20) + 1), "impossible capacity 68719476737 sectors"),
    ],
    ids=str,
)
def test_what_a_header_may_claim(tmp_path: Path, value: tuple[int, str, int], says: str) -> None:
    raw = disk(tmp_path / "raw", MIB, {})
    vmdk.write_stream_optimized(raw, tmp_path / "disk.vmdk")
    changed(tmp_path / "disk.vmdk", value)
    if not says:
        vmdk.Reader(tmp_path / "disk.vmdk").close()
        return
    with pytest.raises(VmdkError, match=says):
        vmdk.Reader(tmp_path / "disk.vmdk")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'encoding="windows-1252"', "M\xfcller\x85.vmdk".encode("latin-1")),
        (b'encoding="UTF-8"', "M\xfcller\u2026.vmdk".encode()),
        (b'encoding="GBK"', "\u5171\u4eab.vmdk".encode("gbk")),
        (b"", "M\xfcller\u2026.vmdk".encode()),
    ],
)
def test_a_descriptor_is_read_in_the_encoding_that_it_names(line: bytes, name: bytes) -> None:
    data = b'# Disk DescriptorFile\n%s\nparentFileNameHint="%s"\nCID=12345678\n' % (line, name)
    values = Descriptor.parse(data).values
    assert values["parentFileNameHint"] in ("M\xfcller\u2026.vmdk", "\u5171\u4eab.vmdk")
    assert values["CID"] == "12345678"
