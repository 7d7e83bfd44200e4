"""An OVA of one node: the seed is its second disk, and every rule of importers holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from dissect.hypervisor.disk.vmdk import VMDK

from lvslab import __version__
from lvslab.cli.main import main
from lvslab.core.places import DATA
from lvslab.core.procs import program
from lvslab.formats import ova, seed_iso, vmdk
from lvslab.make import Options
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.render import node_seed
from lvslab.render.ovf import OvfDisk, ovf
from lvslab.reproduce import Build, again
from lvslab.verify import Outcome, verify
from tests.appliance import make_disk
from tests.small import Small

EPOCH = 1_700_000_000


def build(lab: Lab, node: str, to: Path) -> Path:
    raw, image = to / "raw", to / "disk1.vmdk"
    raw.write_bytes(make_disk(to / "disk"))
    first = vmdk.write_stream_optimized(raw, image)
    seed_iso.write_iso(node_seed(lab, node), to / f"{node}.iso", epoch=EPOCH)
    second = seed_iso.write_disk(to / f"{node}.iso", to / f"{node}-seed.vmdk")
    disks = [
        OvfDisk("disk1.vmdk", first.size, first.capacity, first.populated),
        OvfDisk(f"{node}-seed.vmdk", second.size, second.capacity, second.populated),
    ]
    text = ovf(lab, lab.nodes[node].role, disks, name=node)
    ova.write(to / f"{node}.ova", f"{node}.ovf", text, [image, to / f"{node}-seed.vmdk"], EPOCH)
    return to / f"{node}.ova"


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(lab, "rs1", tmp_path_factory.mktemp("node"))


def test_verify_takes_it(made: Path, lab: Lab) -> None:
    findings = verify(made, lab)
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    seeds = {f.artifact for f in findings if f.rule.id.startswith("seed-")}
    assert seeds == {"rs1.ova/rs1-seed.vmdk"}


def test_verify_takes_it_under_another_name(made: Path, lab: Lab) -> None:
    """The machine inside counts; with another node's seed it is found (test_verify_kinds)."""
    other = made.rename(made.with_name("rs2.ova"))
    try:
        failed = {f.rule.id for f in verify(other, lab) if f.outcome is Outcome.FAIL}
    finally:
        other.rename(made)
    assert failed == set()


def test_the_second_disk_is_the_iso(made: Path, tmp_path: Path) -> None:
    """As dissect reads it, and with the label that cloud-init looks for."""
    subprocess.run(["tar", "--extract", "--file", made, "--directory", tmp_path], check=True)
    iso = made.with_name("rs1.iso").read_bytes()
    with (tmp_path / "rs1-seed.vmdk").open("rb") as file:
        data = VMDK(file).read(2 << 20)
    assert len(data) == 1 << 20
    assert data[: len(iso)] == iso
    assert data.strip(b"\0") == iso.strip(b"\0")
    (tmp_path / "raw").write_bytes(data)
    done = subprocess.run(
        [program("blkid"), "-o", "value", "-s", "LABEL", tmp_path / "raw"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "cidata\n"


def test_same_seed_same_disk(made: Path, tmp_path: Path) -> None:
    seed_iso.write_disk(made.with_name("rs1.iso"), tmp_path / "again.vmdk")
    first = made.with_name("rs1-seed.vmdk").read_bytes()
    assert (tmp_path / "again.vmdk").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["again.vmdk"]


@pytest.mark.slow
def test_virt_v2v_sees_both_disks(made: Path) -> None:
    done = subprocess.run(
        [program("virt-v2v"), "-i", "ova", "--print-source", made],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    disks = [line for line in done.stdout.splitlines() if "[scsi]" in line]
    assert len(disks) == 2, done.stdout


# --- the pipeline's stages, on a small disk in the place of the image's


def test_the_stage_of_a_node_s_ova(small: Small, lab: Lab) -> None:
    made = small.node_ova("lvs2")
    assert made.name == "lvs2.ova"
    assert [f for f in verify(made, lab) if f.outcome is Outcome.FAIL] == []
    with tarfile.open(made) as tar:
        wanted = ["lvs2.ovf", "lvs2.mf", "director-disk1.vmdk", "lvs2-seed.vmdk"]
        assert tar.getnames() == wanted
    assert [path.name for path in made.parent.iterdir()] == ["lvs2.ova"]
    before = len(small.stages.records)
    assert small.node_ova("lvs2") == made
    assert len(small.stages.records) == before


def test_the_stages_of_what_is_handed_out(small: Small, lab: Lab, tmp_path: Path) -> None:
    made = {name: path for make in small.handed_out() for name, path in make().items()}
    names = {f"vmware/{n}/{n}.{end}" for n in lab.nodes for end in ("vmx", "vmdk", "iso")}
    assert names | {"vmware/base/director.vmdk", "vmware/networks.ps1"} <= made.keys()
    assert f"lvslab-{__version__}.zip" in made
    out = tmp_path / "out"
    for name, path in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / name)
    findings = verify(out / "vmware")
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    with zipfile.ZipFile(made[f"lvslab-{__version__}.zip"]) as archive:
        zipped = {n.partition("/")[2] for n in archive.namelist()}
    assert zipped == {n.removeprefix("vmware/") for n in made if n.startswith("vmware/")}
    assert not (out / "vmware/base/director.vmdk").stat().st_mode & 0o222
    assert (out / "vmware/networks.sh").stat().st_mode & 0o111


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["images", "--role", "director", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_verb_makes_them_and_says_so(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole verb except the trees; what was asked for can be built again from build.json."""
    small.stand_in(monkeypatch)
    out = tmp_path / "artifacts"
    assert "ova/lvs1.ova" not in shown(capsys, "--out", str(out))
    assert "would run" not in shown(capsys, "--dry-run")
    planned = shown(capsys, "--dry-run", "--per-node")
    assert [line for line in planned.splitlines() if "would run" in line] == [
        f"would run  {stage}, and what is made from it" for stage in ("ova lvs1", "ova lvs2")
    ]
    assert not Build.load(out / "build.json").per_node
    assert "ova/lvs2.ova" in shown(capsys, "--per-node", "--out", str(out))
    assert sorted(path.name for path in (out / "ova").iterdir()) == [
        "director.cdx.json", "director.ova", "lvs1.ova", "lvs2.ova"
    ]  # fmt: skip
    build = Build.load(out / "build.json")
    assert build.per_node
    assert "ova/lvs1.ova" in build.only(["director"]).report["artifacts"]


def test_a_build_of_each_node_is_built_again_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Options] = []
    monkeypatch.setattr(
        again, "images", lambda lab, roles, options, listener: asked.append(options)
    )
    request: dict[str, Any] = {
        "lab": json.loads(load_lab(DATA / "lab.yaml").model_dump_json()),
        "roles": {}, "cache": "", "out": "", "jobs": 1, "per_node": True, "offline": True,
        "mirror": None, "acceleration": None, "circumstances": {}, "umask": os.umask(0o022),
    }  # fmt: skip
    again._build(request)
    assert asked[0].per_node
