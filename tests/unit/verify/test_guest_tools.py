"""What a disk's descriptor says of VMware's guest tools is compared with what is on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.formats import vmdk
from lvslab.model.load import load_lab
from lvslab.verify import Outcome, verify
from tests.appliance import GOOD_TREE, make_disk
from tests.conftest import ROOT

LAB = load_lab(ROOT / "lab.yaml")
PROGRAM = "usr/bin/vmtoolsd"
UNIT = "etc/systemd/system/multi-user.target.wants/open-vm-tools.service"
PLUGIN = "usr/lib/x86_64-linux-gnu/open-vm-tools/plugins/vmsvc/libtimeSync.so"
NONE = ((b'toolsInstallType = "4"', b'toolsInstallType = "0"'),)
UNSAID = ((b'ddb.toolsInstallType = "4"', b"# nothing is said"),)

Edit = tuple[tuple[bytes, bytes], ...]
Said = Callable[..., dict[str, tuple[Outcome, str]]]


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """The findings about the tools: of a disk with changed files and a changed descriptor."""

    def find(
        changes: dict[str, bytes | None],
        edits: Edit = (),
        *,
        sparse: bool = False,
        ours: bool = True,
    ) -> dict[str, tuple[Outcome, str]]:
        tree = {n: data for n, data in {**GOOD_TREE, **changes}.items() if data is not None}
        raw, file = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
        raw.write_bytes(make_disk(tmp_path / "made", tree))
        (vmdk.write_monolithic_sparse if sparse else vmdk.write_stream_optimized)(raw, file)
        data = file.read_bytes()
        for old, new in edits:
            assert data.count(old) == 1
            data = data.replace(old, new.ljust(len(old)))
        file.write_bytes(data)
        found = verify(file, LAB if ours else None)
        return {f.rule.id: (f.outcome, f.sentence) for f in found if f.rule.id.startswith("tools-")}

    return find


@pytest.mark.parametrize("sparse", [False, True], ids=["streamOptimized", "monolithicSparse"])
def test_tools_that_are_promised_and_there(said: Said, sparse: bool) -> None:
    assert said({}, sparse=sparse) == {
        "tools-inside": (Outcome.PASS, "/usr/bin/vmtoolsd, started by open-vm-tools.service"),
        "tools-no-clock": (Outcome.PASS, "no plugin sets the clock"),
        "tools-no-state": (Outcome.PASS, "no state of an earlier run"),
    }


@pytest.mark.parametrize(
    ("changes", "edits", "rule", "sentence"),
    [
        (
            {PROGRAM: None},
            (),
            "tools-inside",
            "toolsInstallType is 4, but there is no /usr/bin/vmtoolsd",
        ),
        (
            {PROGRAM: b""},
            (),
            "tools-inside",
            "toolsInstallType is 4, but there is no /usr/bin/vmtoolsd",
        ),
        (
            {UNIT: None},
            (),
            "tools-inside",
            "/usr/bin/vmtoolsd is there, but no unit of open-vm-tools.service, vmtoolsd.service "
            "starts it at boot",
        ),
        (
            {},
            NONE,
            "tools-inside",
            "toolsInstallType is 0, but /usr/bin/vmtoolsd is there",
        ),
        (
            {},
            UNSAID,
            "tools-inside",
            "toolsInstallType is not said, but /usr/bin/vmtoolsd is there",
        ),
        ({PLUGIN: b"\x7fELF"}, (), "tools-no-clock", f"/{PLUGIN} is in the image"),
        (
            {"var/lib/vmware/VGAuth/aliasStore/mapping.xml": b"<mapping/>"},
            (),
            "tools-no-state",
            "/var/lib/vmware is in the image",
        ),
        (
            {"var/log/vmware-vmsvc-root.log": b"log\n"},
            (),
            "tools-no-state",
            "/var/log/vmware-vmsvc-root.log is in the image",
        ),
    ],
    ids=["none", "empty", "not started", "denied", "unsaid", "clock", "aliases", "log"],
)
def test_a_word_that_does_not_hold(
    said: Said, changes: dict[str, bytes | None], edits: Edit, rule: str, sentence: str
) -> None:
    assert said(changes, edits)[rule] == (Outcome.FAIL, sentence)
    assert said(changes, edits, ours=False)[rule] == (Outcome.WARN, sentence)


def test_no_tools_and_none_promised(said: Said) -> None:
    for edits in (NONE, UNSAID):
        found = said({PROGRAM: None, UNIT: None}, edits)
        assert found == {
            "tools-inside": (Outcome.PASS, "no tools are promised, and there are none"),
            "tools-no-clock": (Outcome.SKIP, "there are no guest tools"),
            "tools-no-state": (Outcome.SKIP, "there are no guest tools"),
        }


def test_vmwares_own_tools(said: Said) -> None:
    found = said({UNIT: None}, ((b'toolsInstallType = "4"', b'toolsInstallType = "2"'),))
    assert found["tools-inside"] == (Outcome.PASS, "/usr/bin/vmtoolsd, of VMware's own tools")
