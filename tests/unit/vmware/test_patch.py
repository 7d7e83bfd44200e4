"""An imported .vmx is put on the lab's networks: by Python and by the script without Python."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from dissect.hypervisor.descriptor.vmx import VMX

from lvslab.cli import main
from lvslab.core.errors import CheckFailed, InputError
from lvslab.formats import vmx
from lvslab.model.lab import Lab
from lvslab.render.handout import PATCH_PS1, PATCH_SH, handout
from lvslab.vmware.patch import ChangedSetting, patch
from tests.strategies import variants

ROOT = Path(__file__).resolve().parents[3]

# As Workstation leaves it after the import of director.ova: written by hand from the keys that
# an import is known to write, since Workstation cannot run here.
IMPORTED = """.encoding = "windows-1252"
displayName = "director \xe9"
config.version = "8"
virtualHW.version = "14"
memsize = "512"
scsi0.present = "TRUE"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "director-disk1.vmdk"
ethernet0.present = "TRUE"
ethernet0.connectionType = "nat"
ethernet0.virtualDev = "e1000"
ethernet0.addressType = "generated"
Ethernet1.Present = "TRUE"
Ethernet1.ConnectionType = "hostonly"
ethernet1.virtualDev = "e1000"
ethernet2.present = "TRUE"
ethernet2.connectionType = "hostonly"
ethernet3.present = "TRUE"
ethernet3.vnet = "VMnet0"
ethernet3.connectionType = "bridged"
ethernet4.present = "FALSE"
ethernet4.connectionType = "bridged"
"""


def write(folder: Path, text: str = IMPORTED, name: str = "director.vmx") -> Path:
    path = folder / name
    path.write_bytes(text.encode("latin-1"))
    return path


def networks(path: Path) -> list[tuple[str, str | None]]:
    """Kind and VMnet of each card, read by dissect's parser."""
    values = VMX.parse(path.read_bytes().decode("latin-1").replace("\r\n", "\n")).attr
    cards = [n for n in range(10) if values.get(f"ethernet{n}.present", "").upper() == "TRUE"]
    return [(values[f"ethernet{n}.connectiontype"], values.get(f"ethernet{n}.vnet")) for n in cards]


WANTED = [("nat", None), ("custom", "VMnet1"), ("custom", "VMnet12"), ("custom", "VMnet13")]


def test_an_imported_director_is_connected(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.chmod(0o755)
    done = patch(path, lab, "windows")
    assert path.stat().st_mode & 0o777 == 0o755
    assert done.role == "director"
    assert networks(path) == WANTED
    assert ChangedSetting("ethernet1.connectionType", "hostonly", "custom") in done.changes
    assert ChangedSetting("ethernet3.vnet", "VMnet0", "VMnet13") in done.changes
    assert ChangedSetting("ethernet2.vnet", None, "VMnet12") in done.changes
    assert done.backup is not None
    assert done.backup.read_bytes() == IMPORTED.encode("latin-1")


def test_other_lines_stay_byte_for_byte(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path)
    patch(path, lab, "windows")

    def others(data: bytes) -> list[bytes]:
        mine = (b".connectiontype", b".vnet")
        return [line for line in data.split(b"\n") if not any(m in line.lower() for m in mine)]

    assert others(path.read_bytes()) == others(IMPORTED.encode("latin-1"))
    assert b'ethernet4.connectionType = "bridged"' in path.read_bytes()


def test_a_second_time_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path)
    patch(path, lab, "windows")
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    again = patch(path, lab, "windows")
    assert again.changes == ()
    assert again.backup is None
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_changed_machine_gets_another_backup(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path)
    patch(path, lab, "windows")
    assert patch(path, lab, "linux").backup == tmp_path / "director.vmx.before-lvslab-2"
    assert [vnet for _, vnet in networks(path)] == [
        None,
        "/dev/vmnet1",
        "/dev/vmnet12",
        "/dev/vmnet13",
    ]


def test_windows_line_ends_stay(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path, IMPORTED.replace("\n", "\r\n"))
    patch(path, lab, "windows")
    assert networks(path) == WANTED
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


@pytest.mark.parametrize("name", ["director.vmx.lck", "564d-1.vmem", "director.vmss"])
def test_a_machine_that_is_not_off_is_left_alone(lab: Lab, tmp_path: Path, name: str) -> None:
    path = write(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(CheckFailed, match=r"VMware has it open|runs or is suspended"):
        patch(path, lab, "windows")
    assert path.read_bytes() == IMPORTED.encode("latin-1")


SNAPSHOTS = ("director-Snapshot1.vmem", "director-Snapshot12.vmem", "director-Snapshot1.vmsn")


def test_a_machine_with_snapshots_is_off(lab: Lab, tmp_path: Path) -> None:
    """Their memory is kept beside the machine; only that of the machine itself says it runs."""
    path = write(tmp_path)
    for name in SNAPSHOTS:
        (tmp_path / name).touch()
    assert patch(path, lab, "windows").changes


def test_what_cannot_be_found_out_is_asked(lab: Lab, tmp_path: Path) -> None:
    two = IMPORTED.replace('ethernet2.present = "TRUE"', 'ethernet2.present = "FALSE"')
    two = two.replace('ethernet3.present = "TRUE"', 'ethernet3.present = "FALSE"')
    with pytest.raises(InputError, match="2 network cards, no role of the lab has so many"):
        patch(write(tmp_path, two), lab, "windows")
    with pytest.raises(InputError, match="4 network cards, a real-server has 3"):
        patch(write(tmp_path), lab, "windows", "real-server")
    with pytest.raises(InputError, match=r"there is no such \.vmx"):
        patch(tmp_path / "other.vmx", lab, "windows")
    wired_alike = lab.model_copy(
        update={
            "nodes": {
                name: node.model_copy(update={"interfaces": lab.nodes["lvs1"].interfaces})
                for name, node in lab.nodes.items()
            }
        }
    )
    with pytest.raises(InputError, match="more than one role has 4 cards"):
        patch(write(tmp_path), wired_alike, "windows")
    assert patch(write(tmp_path), wired_alike, "windows", "director").changes


def test_the_verb(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path))
    words = ["vmware", "patch", "--host", "windows", path]
    assert main.main([*words, "--check"]) == 1
    assert "ethernet2.vnet: not set -> VMnet12" in capsys.readouterr().out
    assert networks(Path(path)) != WANTED
    assert main.main([*words, "--json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[0])
    assert event["role"] == "director"
    assert event["backup"] == f"{path}.before-lvslab"
    assert main.main([*words, "--check"]) == 0
    assert capsys.readouterr().out == f"{path}: a director, connected as the lab wants it\n"


# --- the same without Python


def script(lab: Lab, path: Path, *words: str, shell: str = "dash") -> tuple[int, str]:
    file = path.parent.parent / PATCH_SH
    file.write_text(handout(lab)[PATCH_SH])
    program = shutil.which(shell)
    assert program
    done = subprocess.run(
        [program, file, path, *words], capture_output=True, text=True, timeout=60, errors="replace"
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "a machine").mkdir()
    return write(tmp_path / "a machine")


@pytest.mark.parametrize("shell", variants("dash", "bash"))
def test_the_script_does_what_python_does(
    lab: Lab, machine: Path, tmp_path: Path, shell: str
) -> None:
    (tmp_path / "python").mkdir()
    ours = write(tmp_path / "python")
    patch(ours, lab, "linux")
    status, said = script(lab, machine, shell=shell)
    assert status == 0, said
    assert machine.read_bytes() == ours.read_bytes()
    assert '  is now: ethernet2.vnet = "/dev/vmnet12"' in said
    backup = machine.with_name("director.vmx.before-lvslab")
    assert backup.read_bytes() == IMPORTED.encode("latin-1")
    status, said = script(lab, machine, shell=shell)
    assert (status, said) == (0, f"{machine}: a director, connected as the lab wants it\n")
    assert len(list(machine.parent.iterdir())) == 2


@pytest.mark.parametrize("document", ["import.md", "student-sheet.txt"])
def test_the_step_for_fusion_makes_fusion_s_names(lab: Lab, tmp_path: Path, document: str) -> None:
    """The documents' own commands, in the folder of the zip, on a host that says it is a Mac."""
    text = (ROOT / "docs" / document).read_text()
    commands = re.findall(r"for \w+ in .*patch-vmx\.sh .*done", text)
    assert commands
    for name, text in handout(lab).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "bin" / "uname").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    words = ["sh", "-c", "\n".join(commands)]
    subprocess.run(words, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    for node, this in lab.nodes.items():
        found = [vnet for _, vnet in networks(tmp_path / node / f"{node}.vmx")]
        wanted = [name.lower() for _, name in sorted(this.interfaces.items())]
        assert found == [None, *wanted[1:]]


SLOTS = (*range(32, 36), 36, 40, 160, 192, 224, 256, 1184, 1216, 17, "-1", "", "x", None)


def random_vmx(seed: int) -> str:
    """Cards in any order and slot, with gaps, spelled in any way, with settings or not."""
    dice = random.Random(seed)
    cards = dice.sample(range(9), dice.choice([3, 4]))
    lines = ['.encoding = "UTF-8"', "# a comment", "", 'ethernet9.present = "FALSE"']
    lines += ['displayName = "\xc5 \x85 \xe5\x85\xb1"', 'ethernet9.vnet = "VMnet1" and more']
    lines += [f'ethernet{n}.vnet = "VMnet1"' for n in range(9) if n not in cards]

    def spelt(value: object) -> str:
        plain = f"{value}" if value != "" else '""'
        return dice.choice([f'"{value}"', f'"{value}"', plain, f'{plain} # "a remark"'])

    for n in cards:
        true = dice.choice(["TRUE", "TRUE", "True", "yes", "on", "1", "t"])
        lines.append(f"ethernet{n}.present = {spelt(true)}")
        if (slot := dice.choice(SLOTS)) is not None:
            lines.append(f"ethernet{n}.pciSlotNumber = {spelt(slot)}")
        if dice.random() < 0.7:
            key = dice.choice(["connectionType", "connectiontype", "CONNECTIONTYPE"])
            lines.append(f"{dice.choice(['e', 'E'])}thernet{n}.{key}={spelt(dice.choice('abc'))}")
        for _ in range(dice.choice([0, 1, 1, 2])):
            vnet = dice.choice(["VMnet1", "/dev/vmnet12", "VMnet13", ""])
            lines.append(f"  ethernet{n}.vnet = {spelt(vnet)}")
    dice.shuffle(lines)
    end = dice.choice(["\n", "\r\n"])
    return end.join(lines) + dice.choice([end, ""])


GAP = """ethernet0.present = "TRUE"
ethernet1.present = "FALSE"
ethernet1.vnet = "VMnet1"
ethernet2.present = "TRUE"
ethernet3.present = "TRUE"
ethernet5.present = "TRUE"
"""


def test_cards_with_a_gap(lab: Lab, machine: Path) -> None:
    """The fourth card is ethernet5; ethernet1 is not there, and stays as it is."""
    machine.write_text(GAP)
    assert script(lab, machine)[0] == 0
    assert networks(machine) == [
        (kind, vnet and vnet.replace("VMnet", "/dev/vmnet")) for kind, vnet in WANTED
    ]
    values = VMX.parse(machine.read_text()).attr
    assert values["ethernet1.vnet"] == "VMnet1"
    assert "ethernet4.vnet" not in values
    assert values["ethernet5.vnet"] == "/dev/vmnet13"


def test_powershell_s_script_goes_by_the_cards_that_are_there(lab: Lab) -> None:
    text = handout(lab)[PATCH_PS1]
    assert '$card = "ethernet$($present[$number])"' in text
    assert '"ethernet$number"' not in text and '"ethernet$number.conn' not in text


@pytest.mark.parametrize("seed", variants(*range(80), fast=8))
def test_script_and_python_agree_on_any_file(lab: Lab, tmp_path: Path, seed: int) -> None:
    text = random_vmx(seed)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = write(tmp_path / "a", text), write(tmp_path / "b", text)
    patch(first, lab, "linux")
    assert script(lab, second)[0] == 0
    same = (first.read_bytes().replace(b"\r", b""), second.read_bytes().replace(b"\r", b""))
    assert same[0] == same[1]
    wires = [nic.vnet for nic in nics_of(first)]
    assert wires in (["VMnet8", "VMnet1", "VMnet12", "VMnet13"], ["VMnet8", "VMnet12", "VMnet13"])


def nics_of(path: Path) -> list[vmx.VmxNic]:
    """The cards as the guest counts them, by what `lab up` reads (and QEMU is given)."""
    text = path.read_text("latin-1") + '\nmemsize = "512"\n'
    slots = re.compile(r"(?im)^(.*pcislotnumber.*=).*x.*$")
    disk = 'scsi0.present = "TRUE"\nscsi0:0.present = "TRUE"\nscsi0:0.fileName = "a.vmdk"\n'
    copy = path.with_name("copy.vmx")
    copy.write_text(slots.sub("", text) + disk, "latin-1")
    return list(vmx.read(copy).nics)


def with_slots(*slots: object) -> str:
    text = IMPORTED.replace("Ethernet1.Present", "ethernet1.present")
    for n, slot in enumerate(slots):
        line = f'ethernet{n}.present = "TRUE"\n'
        assert line in text
        text = text.replace(line, f'{line}ethernet{n}.pciSlotNumber = "{slot}"\n')
    return text


@pytest.mark.parametrize(
    ("slots", "order"),
    [
        ((32, 33, 34, 35), [0, 1, 2, 3]),
        ((32, 35, 34, 33), [0, 3, 2, 1]),
        ((35, 34, 33, 32), [3, 2, 1, 0]),
        ((36, 33, 40, 100), [1, 0, 2, 3]),
        ((160, 192, 224, 256), [0, 1, 2, 3]),
        ((192, 224, 256, 1184), [3, 0, 1, 2]),  # the fourth NIC is the first
        ((1184, 160, 17, 33), [2, 3, 1, 0]),
        (("-1", "-1", "-1", "-1"), [0, 1, 2, 3]),
        (("-1", 32, "-1", 34), [1, 0, 3, 2]),
    ],
)
@pytest.mark.parametrize("by", ["python", "script"])
def test_cards_are_wired_as_the_guest_counts_them(
    lab: Lab, machine: Path, slots: tuple[object, ...], order: list[int], by: str
) -> None:
    write(machine.parent, with_slots(*slots))
    if by == "python":
        patch(machine, lab, "linux")
    else:
        assert script(lab, machine)[0] == 0
    wires = [
        (kind, vnet and vnet.replace("/dev/vmnet", "VMnet")) for kind, vnet in networks(machine)
    ]
    assert [wires[card] for card in order] == WANTED
    assert [nic.vnet for nic in nics_of(machine)] == ["VMnet8", "VMnet1", "VMnet12", "VMnet13"]
    assert patch(machine, lab, "linux", dry=True).changes == ()
    assert script(lab, machine, "--check")[0] == 0


@pytest.mark.parametrize("by", ["python", "script"])
def test_a_machine_wired_by_number_is_not_right(lab: Lab, machine: Path, by: str) -> None:
    """The control: networks in the order of ethernet0 … and slots in another."""
    write(machine.parent, with_slots(32, 33, 34, 35))
    patch(machine, lab, "linux")
    right = machine.read_text("latin-1")
    machine.write_text(right.replace('"33"', '"x"').replace('"35"', '"33"').replace('"x"', '"35"'))
    if by == "python":
        changed = {change.key for change in patch(machine, lab, "linux", dry=True).changes}
        assert changed == {"ethernet1.vnet", "ethernet3.vnet"}
    else:
        status, said = script(lab, machine, "--check")
        assert status == 1
        assert '  is now: ethernet1.vnet = "/dev/vmnet13"' in said


TRUTHS = ["TRUE", "True", "true", '"yes"', "yes", "on", '"1"', "1", "T", "y", '"TRUE" # a remark']
LIES = ["FALSE", "false", '"no"', "off", "0", '""', "", "TRUELY", '"TRUE', "# TRUE", '"FALSE"']


@pytest.mark.parametrize(("word", "cards"), [*((w, 4) for w in TRUTHS), *((w, 3) for w in LIES)])
def test_spellings_of_a_boolean(lab: Lab, machine: Path, word: str, cards: int) -> None:
    """With three cards it is a real server, with four a director: by both tools."""
    text = IMPORTED.replace('ethernet3.present = "TRUE"', f"ethernet3.present = {word}")
    write(machine.parent, text)
    role = "director" if cards == 4 else "real-server"
    assert patch(machine, lab, "linux", dry=True).role == role
    status, said = script(lab, machine, "--check")
    assert status == 1
    assert f"director.vmx: a {role}" in said


def test_a_huge_slot_is_not_a_traceback(lab: Lab, machine: Path) -> None:
    for slot in ("9" * 5000, "\xb2", "1e3", "33.5"):
        write(machine.parent, with_slots(slot, 33, 34, 35))
        first = patch(machine, lab, "linux", dry=True)
        assert first.role == "director"
        assert script(lab, machine, "--check")[0] == 1


# --- whose file it is


@pytest.mark.parametrize("by", ["python", "script"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_file_stays_its_owner_s(lab: Lab, machine: Path, by: str, mode: int) -> None:
    machine.chmod(mode)
    if os.geteuid() == 0:
        os.chown(machine, 1234, 2345)
    before = machine.stat()
    if by == "python":
        patch(machine, lab, "linux")
    else:
        assert script(lab, machine)[0] == 0
    backup = machine.with_name("director.vmx.before-lvslab")
    assert networks(machine) != networks(backup)
    for path in (machine, backup):
        after = path.stat()
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
        assert after.st_mode == before.st_mode
    assert len(list(machine.parent.iterdir())) == 2


@pytest.mark.parametrize("by", ["python", "script"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_symbolic_link_stays_one(
    lab: Lab, machine: Path, tmp_path: Path, by: str, absolute: bool
) -> None:
    (tmp_path / "links").mkdir()
    middle = tmp_path / "middle.vmx"
    middle.symlink_to(machine)
    link = tmp_path / "links" / "link.vmx"
    link.symlink_to(middle if absolute else "../middle.vmx")
    if by == "python":
        done = patch(link, lab, "linux")
        assert done.backup == machine.with_name("director.vmx.before-lvslab")
    else:
        status, said = script(lab, link)
        assert status == 0
        assert said.startswith(f"{link}: a director\n")
    assert link.is_symlink() and middle.is_symlink() and not machine.is_symlink()
    assert [vnet for _, vnet in networks(machine)][1:] == [
        "/dev/vmnet1",
        "/dev/vmnet12",
        "/dev/vmnet13",
    ]
    backup = machine.with_name("director.vmx.before-lvslab")
    assert backup.read_bytes() == IMPORTED.encode("latin-1")
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["link.vmx"]


def test_links_that_lead_nowhere(lab: Lab, tmp_path: Path) -> None:
    first, second = tmp_path / "first.vmx", tmp_path / "second.vmx"
    first.symlink_to(second)
    for target in (first, tmp_path / "none.vmx", tmp_path):
        second.unlink(missing_ok=True)
        second.symlink_to(target)
        with pytest.raises(InputError, match=r"there is no such \.vmx"):
            patch(first, lab, "linux")
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"there is no such \.vmx"):
        patch(write(tmp_path / "a") / "b.vmx", lab, "linux")
    assert script(lab, tmp_path / "a" / "none.vmx")[0] == 2


def test_check_needs_no_right_to_write(lab: Lab) -> None:
    """Another user's machine, in another user's folder: --check only looks."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        machine = write(folder)
        (folder / PATCH_SH).write_text(handout(lab)[PATCH_SH])
        folder.chmod(0o555)
        nobody = None if os.geteuid() else 65534
        argv: list[str | Path] = ["sh", folder / PATCH_SH, machine]
        for words, status in (([*argv, "--check"], 1), (argv, 1)):
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                errors="replace",
                user=nobody,
                group=nobody,
                extra_groups=None if nobody is None else [],
            )
            assert done.returncode == status
            assert '  is now: ethernet2.vnet = "/dev/vmnet12"' in done.stdout
        assert "could not be written" in done.stderr
        assert machine.read_bytes() == IMPORTED.encode("latin-1")
        folder.chmod(0o755)
        assert sorted(path.name for path in folder.iterdir()) == ["director.vmx", PATCH_SH]


@pytest.mark.parametrize("by", ["python", "script"])
@pytest.mark.parametrize("where", ["link", "target"])
def test_a_link_s_machine_that_is_open_is_left_alone(
    lab: Lab, machine: Path, tmp_path: Path, by: str, where: str
) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "director.vmx"
    link.symlink_to(machine)
    open_one = link if where == "link" else machine
    open_one.with_name("director.vmx.lck").mkdir()
    if by == "python":
        with pytest.raises(CheckFailed, match="VMware has it open"):
            patch(link, lab, "linux")
    else:
        assert script(lab, link)[0] == 1
    assert machine.read_bytes() == IMPORTED.encode("latin-1")


@pytest.mark.parametrize("by", ["python", "script"])
def test_a_file_that_is_linked_elsewhere_stays_as_it_is_there(
    lab: Lab, machine: Path, tmp_path: Path, by: str
) -> None:
    """A build's files are those of its cache: writing into one would change the other."""
    cached = tmp_path / "cached"
    os.link(machine, cached)
    if by == "python":
        patch(machine, lab, "linux")
    else:
        assert script(lab, machine)[0] == 0
    assert cached.read_bytes() == IMPORTED.encode("latin-1")
    assert machine.read_bytes() != cached.read_bytes()
    assert len(list(machine.parent.iterdir())) == 2


def test_who_may_not_give_a_file_away_writes_into_it(
    lab: Lab, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's file that this one may write: a new one would be this user's."""

    def chown(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    machine.chmod(0o666)
    before = machine.stat()
    monkeypatch.setattr(os, "chown", chown)
    patch(machine, lab, "windows")
    assert networks(machine) == WANTED
    assert (machine.stat().st_ino, machine.stat().st_mode) == (before.st_ino, before.st_mode)
    assert len(list(machine.parent.iterdir())) == 2


@pytest.mark.parametrize("name", ["director.vmx.lck", "564d-1.vmem", "director.vmss"])
def test_the_script_leaves_a_running_machine_alone(lab: Lab, machine: Path, name: str) -> None:
    machine.with_name(name).touch()
    status, said = script(lab, machine)
    assert status == 1
    assert "VMware has it open" in said or "runs or is suspended" in said
    assert machine.read_bytes() == IMPORTED.encode("latin-1")


def test_the_script_knows_snapshots(lab: Lab, machine: Path) -> None:
    for name in SNAPSHOTS:
        machine.with_name(name).touch()
    assert script(lab, machine)[0] == 0
    machine.with_name("director.vmem").touch()
    assert script(lab, machine)[0] == 1


def test_powershell_s_script_knows_them_by_the_same_pattern(lab: Lab) -> None:
    [pattern] = re.findall(r"Name -match '(.+)'\) \{ continue \}", handout(lab)[PATCH_PS1])
    names = [*SNAPSHOTS, "director.vmem", "564d-1.vmem", "Snapshot1.vmem"]
    assert [n for n in names if re.search(pattern, n)] == list(SNAPSHOTS[:2])


def test_the_script_s_check_and_wrong_usage(lab: Lab, machine: Path) -> None:
    status, said = script(lab, machine, "--check")
    assert status == 1
    assert "nothing was changed (--check)" in said
    assert script(lab, machine, "--role", "real-server")[0] == 1
    assert script(lab, machine, "--role", "director", "--check")[0] == 1
    for words in (["--role", "nobody"], ["--role"], ["--chek"], ["other.vmx"]):
        assert script(lab, machine, *words)[0] == 2
    assert script(lab, machine.with_name("none.vmx"))[0] == 2
    assert machine.read_bytes() == IMPORTED.encode("latin-1")
    assert os.listdir(machine.parent) == ["director.vmx"]  # noqa: PTH208
