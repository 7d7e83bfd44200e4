"""`lab up --engine vmware`: the verbs against the stand-in for vmrun, which is a program.

The host is a network namespace with an adapter on VMnet1, as VMware would make it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.lab.namespace import Namespace
from lvslab.lab.vmrun.guest_operations import PASSWORD
from lvslab.model.lab import Lab
from tests import fakevmrun
from tests.bare import ILL, WELL, Guests

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
SECRET = "correct-horse"

# labcheck of a node: what the file beside it says. systemctl: which services are stopped.
_LABCHECK = "#!/bin/sh\ncat '{}'\n"
_SYSTEMCTL = "#!/bin/sh\necho \"$@\" >>'{}'\n"
_SAYS = "#!/bin/sh\ncat <<'END'\n{}\nEND\n"


@dataclass
class VmwareLab:
    """A lab of folders on a host whose vmrun is the stand-in."""

    lab: Lab
    host: fakevmrun.Host
    artifacts: Path

    def vmx(self, node: str) -> Path:
        return self.artifacts / "vmware" / node / f"{node}.vmx"

    def machine(self, node: str) -> fakevmrun.FakeMachine:
        with self.host.machine(self.vmx(node)) as machine:
            return machine

    def finds(self, node: str, finding: dict[str, object]) -> None:
        (self.host.folder / f"{node}.findings").write_text(json.dumps([finding]))

    def verb(self, *words: str) -> int:
        return main.main(["lab", *words])

    def up(self) -> int:
        return self.verb("up", "--engine", "vmware", "--artifacts", str(self.artifacts))


def equip(this: VmwareLab) -> None:
    """Give the guests what the lab asks them for."""
    guests = Guests(this.lab)
    for node in this.lab.nodes:
        addresses = guests.answer(node, {"argv": ["ip", "-json", "address"]})[1]
        table = guests.answer(node, {"argv": ["ipvsadm", "-Ln"]})[1]
        findings = this.host.folder / f"{node}.findings"
        this.finds(node, WELL)
        install = this.host.install
        install(node, "/usr/local/bin/labcheck", _LABCHECK.format(findings))
        install(node, "systemctl", _SYSTEMCTL.format(this.host.folder / f"{node}.systemctl"))
        install(node, "ip", _SAYS.format(addresses))
        install(node, "ipvsadm", _SAYS.format(table))
        install(node, "true", "#!/bin/sh\n")
        for name in ("status", "result"):
            install(node, f"/run/cloud-init/{name}.json", "{}")


@pytest.fixture(scope="module")
def vmware(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmwareLab]:
    """A lab that is up, on a host with VMware."""
    folder = tmp_path_factory.mktemp("v")
    host = fakevmrun.install(folder / "v", "student", SECRET)
    client = folder / "labcheck"
    client.write_text(f"import json\nprint(json.dumps([{WELL!r}]))\n")
    this = VmwareLab(lab, host, fakevmrun.make_folders(lab, folder / "a"))
    equip(this)
    namespace = Namespace(f"lvslab-vmware-{os.getpid()}")
    namespace.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder / 'v/bin'}:{os.environ['PATH']}")
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        patch.setenv("LVSLAB_CACHE", str(folder / "c"))
        patch.setenv(PASSWORD, SECRET)
        patch.setattr(checklist, "_PROGRAM", client)
        try:
            with namespace.inside():
                for words in (
                    "link add vmnet1 type bridge",
                    "addr add 192.168.50.100/24 dev vmnet1",
                    "link set vmnet1 up",
                ):
                    subprocess.run(["ip", *words.split()], check=True)
                assert this.verb("up", "--engine", "vmware", "--artifacts", str(folder / "a")) == 0
                yield this
        finally:
            namespace.remove()


@root_only
def test_status_shows_what_the_guests_say(
    vmware: VmwareLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(vmware.machine(node).on for node in vmware.lab.nodes)
    assert vmware.verb("status", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {node["state"] for node in found["nodes"]} == {"running"}
    assert all(node["answers"] for node in found["nodes"])
    assert [i["held_by"] for i in found["instances"]] == [["lvs1"], ["lvs1"], ["lvs2"], ["lvs2"]]
    assert {i["advertised_by"] for i in found["instances"]} == {None}  # nobody can hear them
    assert vmware.verb("status") == 0
    assert "heard" not in capsys.readouterr().out


@root_only
def test_a_bad_checklist_is_seen(vmware: VmwareLab, capsys: pytest.CaptureFixture[str]) -> None:
    vmware.finds("rs1", ILL)
    assert vmware.verb("check", "--wait", "0") == 1
    said = capsys.readouterr()
    assert "✗ 1 rs1    it is alive: it is not" in said.out
    assert "1 of 5 checks fail" in said.err
    vmware.finds("rs1", WELL)
    assert vmware.verb("check", "--wait", "0") == 0


@root_only
def test_every_fault_that_vmrun_can_make_is_made_seen_and_healed(
    vmware: VmwareLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vmware.verb("kill", "rs2") == 0 and not vmware.machine("rs2").on
    assert vmware.verb("pause", "rs1") == 0 and vmware.machine("rs1").paused
    assert vmware.verb("cut", "lvs1", "eth2") == 0
    assert vmware.machine("lvs1").out == ["ethernet2"]
    assert vmware.verb("stop-service", "lvs2", "keepalived") == 0
    done = vmware.host.folder / "lvs2.systemctl"
    assert done.read_text() == "stop keepalived\n"
    capsys.readouterr()
    assert vmware.verb("heal") == 0
    healed = capsys.readouterr().out
    for fault in (
        "rs2 is off", "rs1 is paused", "lvs1 eth2: cable pulled", "lvs2: keepalived stopped",
    ):  # fmt: skip
        assert f"healed: {fault}" in healed
    assert vmware.machine("rs2").on and not vmware.machine("rs1").paused
    assert vmware.machine("lvs1").out == []
    assert done.read_text().splitlines()[-1] == "start keepalived"
    assert vmware.verb("heal") == 0
    assert "nothing was broken" in capsys.readouterr().out


@root_only
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("cut lvs1 eth1 --silent", "dropping frames with the link up is not possible here"),
        ("split lvs1 lvs2", "keeping multicast away (a split brain) is not possible here"),
        ("console lvs1", "a console is not possible here"),
        ("ssh lvs1", "ssh with the lab's key is not possible here"),
        ("capture VMnet1", "a capture is not possible here"),
    ],
)
def test_what_vmrun_cannot_do_is_refused_with_the_reason(
    vmware: VmwareLab, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vmware.verb(*words.split()) == 4
    said = capsys.readouterr().err
    assert says in said and "to fix it: " in said
    assert vmware.verb("heal") == 0
    assert "nothing was broken" in capsys.readouterr().out


@root_only
def test_a_checkpoint_is_a_snapshot_of_each_machine(vmware: VmwareLab) -> None:
    assert vmware.verb("save", "before") == 0
    boots = {node: vmware.machine(node).boots for node in vmware.lab.nodes}
    assert set(vmware.machine("lvs1").snapshots) == {"lvslab-before"}
    assert not vmware.machine("lvs1").paused
    assert vmware.verb("cut", "lvs1", "eth1") == vmware.verb("kill", "rs1") == 0
    assert vmware.verb("restore", "before") == 0
    assert {node: vmware.machine(node).boots for node in vmware.lab.nodes} == boots
    assert all(vmware.machine(node).on for node in vmware.lab.nodes)
    assert vmware.verb("restore", "never") == 2


@root_only
def test_the_client_is_this_host(vmware: VmwareLab, tmp_path: Path) -> None:
    """The verb replaces its process, so it has one of its own."""
    command = [sys.executable, "-m", "lvslab.cli", "lab", "client", "--", "ip", "address"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "192.168.50.100/24" in done.stdout


@root_only
def test_a_second_start_starts_what_is_off_and_nothing_else(vmware: VmwareLab) -> None:
    boots = vmware.machine("lvs1").boots
    assert vmware.verb("kill", "rs2") == 0
    assert vmware.up() == 0
    assert vmware.machine("rs2").on and vmware.machine("lvs1").boots == boots


@root_only
def test_a_wrong_password_is_said_and_never_shown(
    vmware: VmwareLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSWORD, "wrong-horse")
    assert vmware.verb("check", "--wait", "0") == 1
    said = capsys.readouterr()
    assert "Invalid user name or password for the guest OS" in said.out
    assert "wrong-horse" not in said.out + said.err
    monkeypatch.delenv(PASSWORD)
    assert vmware.verb("stop-service", "lvs1", "keepalived") == 2
    assert f"set {PASSWORD}" in capsys.readouterr().err


@root_only
def test_down_leaves_the_folders_and_the_users_own_snapshots(vmware: VmwareLab) -> None:
    with vmware.host.machine(vmware.vmx("lvs1")) as machine:
        machine.snapshots["mine"] = {"on": False}
    assert vmware.verb("down") == 0
    assert not any(vmware.machine(node).on for node in vmware.lab.nodes)
    assert set(vmware.machine("lvs1").snapshots) == {"mine"}
    assert not Cluster(vmware.lab).state.folder.exists()
    left = sorted(path.name for path in vmware.vmx("lvs1").parent.iterdir())
    assert left == ["lvs1.iso", "lvs1.vmdk", "lvs1.vmx"]
