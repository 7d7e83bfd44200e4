"""VMware folders and the zip: read by other programs, the same bytes every time, complete."""

from __future__ import annotations

import os
import random
import subprocess
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import deflate
import pytest
from dissect.hypervisor.descriptor.vmx import VMX
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.errors import StageError
from lvslab.core.files import sha256_file
from lvslab.export import bundle, folders
from lvslab.formats import deflated, seed_iso, vmdk, zip
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.render.handout import handout
from lvslab.verify import Outcome, verify
from tests.appliance import GOOD_TREE, make_disk
from tests.conftest import ROLES

EPOCH = 1_700_000_000
TOP = "lvslab-1.2.3"


@dataclass
class Made:
    """The VMware folder of the article's lab on small disks, and its zip."""

    folder: Path
    raw: dict[str, Path]
    pairs: dict[str, tuple[Path, Path]]
    zip: Path


def disks(to: Path) -> dict[str, Path]:
    """A small raw disk for each role."""
    raw = {}
    for number, role in enumerate(ROLES):
        tree = GOOD_TREE | {"usr/noise": random.Random(number).randbytes(300_000)}
        raw[role] = to / f"{role}.raw"
        raw[role].write_bytes(make_disk(to / role, tree))
    return raw


def make(lab: Lab, to: Path, raw: dict[str, Path]) -> Made:
    folder = to / "vmware"
    pairs: dict[str, tuple[Path, Path]] = {}
    for role in ROLES:
        pairs[role] = (folder / "base" / f"{role}.vmdk", to / f"{role}-disk1.vmdk")
        vmdk.write_monolithic_sparse(raw[role], pairs[role][0])
        vmdk.write_stream_optimized(raw[role], pairs[role][1])
    seeds = {}
    for node in lab.nodes:
        seeds[node] = to / f"{node}.iso"
        seed_iso.write_iso(node_seed(lab, node), seeds[node], epoch=EPOCH)
    bases = {role: (pair[0], sha256_file(pair[0])) for role, pair in pairs.items()}
    made = to / "made"
    made.mkdir()
    folders.write_nodes(lab, made, bases, seeds, handout(lab))
    packed = {role: to / f"packed-{role}" for role in pairs}
    for role, pair in pairs.items():
        packed[role].mkdir()
        bundle.pack(*pair, packed[role])
    bundle.write(to / "lab.zip", TOP, made, packed, EPOCH)
    for path in made.iterdir():
        path.rename(folder / path.name)
    return Made(folder, raw, pairs, to / "lab.zip")


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("bundle")
    return make(lab, folder, disks(folder))


def run(*words: object, cwd: Path | None = None) -> str:
    argv = [str(word) for word in words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_folder_passes_verify(made: Made) -> None:
    findings = verify(made.folder)
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    assert {f.artifact for f in findings if f.rule.id == "vmx-form"} == {
        "lvs1.vmx",
        "lvs2.vmx",
        "rs1.vmx",
        "rs2.vmx",
    }


def test_the_vmx_says_what_lab_yaml_says(lab: Lab, made: Made) -> None:
    """Read by dissect's parser, not by ours."""
    seen = set()
    for node, this in lab.nodes.items():
        vmx = VMX.parse((made.folder / node / f"{node}.vmx").read_text())
        for number, (interface, network) in enumerate(sorted(this.interfaces.items())):
            card = f"ethernet{number}"
            kind = vmx.attr[f"{card}.connectiontype"]
            assert (kind, vmx.attr.get(f"{card}.vnet")) == (
                ("nat", None) if network == "VMnet8" else ("custom", network)
            )
            mac = vmx.attr[f"{card}.address"]
            assert mac == lab.mac(node, interface)
            assert mac not in seen
            seen.add(mac)
            assert vmx.attr[f"{card}.pcislotnumber"] == str(32 + number)
        assert f"ethernet{len(this.interfaces)}.present" not in vmx.attr
        assert vmx.attr["memsize"] == "512"
        assert vmx.disks() == [f"{node}.vmdk"]
    assert len(seen) == 14


def test_two_labs_on_one_network_have_no_mac_in_common(lab: Lab) -> None:
    other = lab.model_copy(update={"number": 2})
    ours, theirs = (
        {lab.mac(n, i) for n, node in lab.nodes.items() for i in node.interfaces}
        for lab in (lab, other)
    )
    assert len(ours) == len(theirs) == 14
    assert not ours & theirs


@pytest.mark.parametrize("node", ["lvs1", "lvs2", "rs1", "rs2"])
def test_a_node_s_disk_is_its_role_s_for_qemu_too(
    lab: Lab, made: Made, node: str, tmp_path: Path
) -> None:
    """QEMU follows the child's hint to the base; the whole folder has been moved before."""
    moved = tmp_path / "another place"
    run("cp", "-r", made.folder, moved)
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", moved / node / f"{node}.vmdk", raw)
    assert raw.read_bytes() == made.raw[lab.nodes[node].role].read_bytes()


def test_the_zip_unpacks_to_the_folder(made: Made, tmp_path: Path) -> None:
    """Info-ZIP's or 7-Zip's reading of it, and Python's."""
    run("7z", "x", "-bd", f"-o{tmp_path / 'seven'}", made.zip)
    with zipfile.ZipFile(made.zip) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "python")
    wanted = {p.relative_to(made.folder): p for p in made.folder.rglob("*") if p.is_file()}
    for folder in ("seven", "python"):
        top = tmp_path / folder / TOP
        there = {p.relative_to(top): p for p in top.rglob("*") if p.is_file()}
        assert there.keys() == wanted.keys()
        for name, path in there.items():
            assert path.read_bytes() == wanted[name].read_bytes(), name
        run("sha256sum", "--strict", "-c", "SHA256SUMS", cwd=top)


def test_modes_and_times_in_the_zip(made: Made) -> None:
    with zipfile.ZipFile(made.zip) as archive:
        modes = {i.filename: i.external_attr >> 16 & 0o777 for i in archive.infolist()}
        assert {i.date_time for i in archive.infolist()} == {time.gmtime(EPOCH)[:5] + (20,)}
        assert archive.infolist()[0].external_attr & 1  # read-only for Windows
    assert modes[f"{TOP}/base/director.vmdk"] == 0o444
    assert modes[f"{TOP}/networks.sh"] == 0o755
    assert modes[f"{TOP}/lvs1/lvs1.vmx"] == 0o644


def test_same_inputs_same_zip(
    lab: Lab, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, time zone and umask."""
    old = os.umask(0o077)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        again = make(lab, tmp_path, made.raw)
    finally:
        os.umask(old)
        monkeypatch.undo()
        time.tzset()
    assert again.zip.read_bytes() == made.zip.read_bytes()


def test_the_zip_is_no_larger_than_the_disks_in_the_ovas(made: Made) -> None:
    streams = sum(stream.stat().st_size for _, stream in made.pairs.values())
    assert made.zip.stat().st_size < 1.1 * streams


def test_disks_that_differ_are_not_put_together(made: Made, tmp_path: Path) -> None:
    sparse, _ = made.pairs["director"]
    raw = tmp_path / "raw"
    raw.write_bytes(b"x" * (13 << 20))
    vmdk.write_stream_optimized(raw, tmp_path / "other.vmdk")
    with pytest.raises(StageError, match="its grains are not those of other.vmdk"):
        deflated.sparse_member("base.vmdk", sparse, tmp_path / "other.vmdk", 0o444)


PIECES = st.one_of(
    st.binary(max_size=3000),
    st.integers(0, 1 << 16).map(bytes),
    st.builds(
        lambda seed, n: random.Random(seed).randbytes(n), st.integers(), st.integers(0, 9999)
    ),
    st.builds(lambda text, n: text * n, st.binary(min_size=1, max_size=40), st.integers(0, 1600)),
)


@given(st.lists(st.tuples(PIECES, st.integers(1, 12)), max_size=6))
def test_joined_streams_inflate_to_the_pieces(pieces: list[tuple[bytes, int]]) -> None:
    joined = b"".join(
        deflated.joinable(bytes(deflate.deflate_compress(data, level)), len(data))
        for data, level in pieces
    )
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(joined + deflated.END) == b"".join(data for data, _ in pieces)
    assert inflater.eof
    assert inflater.unused_data == b""


@pytest.mark.parametrize("level", range(10))
def test_streams_of_another_compressor_can_be_joined(level: int) -> None:
    data = random.Random(level).randbytes(100) * 500 + os.urandom(70_000)
    packer = zlib.compressobj(level, wbits=-15)
    stream = packer.compress(data) + packer.flush()
    joined = deflated.joinable(stream, len(data)) * 2 + deflated.END
    assert zlib.decompress(joined, -15) == data * 2


@pytest.mark.parametrize("broken", [b"", b"\x07", b"no deflate", bytes(range(200, 256))])
def test_what_is_not_a_whole_stream_is_refused(broken: bytes) -> None:
    with pytest.raises(StageError, match="not a whole deflate stream"):
        deflated.joinable(broken, 1 << 16)


def test_a_stream_that_was_cut_off_is_refused() -> None:
    stream = bytes(deflate.deflate_compress(os.urandom(9999), 6))
    with pytest.raises(StageError, match="not a whole deflate stream"):
        deflated.joinable(stream[:-5], 9999)


def test_a_file_of_4_gib_is_refused(tmp_path: Path) -> None:
    large = zip.ZipMember("large", 0o644, 1 << 32, 0, [b"\x03\x00"])
    with pytest.raises(StageError, match="4 GiB or more"):
        zip.write(tmp_path / "x.zip", [large], EPOCH)
    assert list(tmp_path.iterdir()) == []
