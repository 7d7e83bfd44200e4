"""`deploy vsphere` against the vCenter simulator of Debian's govmomi, by its real API.

It proves the calls, their types and what follows from calling again. It takes much that a real
vCenter refuses: it is no evidence for that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from lvslab.deploy import trust
from lvslab.model.load import load_lab
from tests import vcenter
from tests.authority import Authority, thumbprint
from tests.deploying import Desk, log_in

pytestmark = pytest.mark.slow  # builds the simulator, once


@pytest.fixture
def simulator(authority: Authority) -> Iterator[vcenter.Simulator]:
    with vcenter.running(authority) as this:
        yield this


@pytest.fixture
def desk(
    simulator: vcenter.Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    log_in(monkeypatch, vcenter.USER, vcenter.SECRET)
    site = {
        "server": simulator.address,
        "ca": str(simulator.authority.path),
        "reach": "cluster",
        "tags": "3000-3199",
        "datacenter": "DC0",
        "cluster": "DC0_C0",
        "datastore": "LocalDS_0",
        "switch": "DVS1",
    }
    return Desk("vsphere", tmp_path, site, capsys)


class Admin:
    """Somebody else who works on the same vCenter, by the same API."""

    def __init__(self, session: Any) -> None:
        self.content = session.content
        self.center = self.content.rootFolder.childEntity[0]
        self.cluster = self.center.hostFolder.childEntity[0]

    def all(self, kind: Any) -> dict[str, Any]:
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [kind], True)
        found = {}
        for this in view.view:
            with suppress(vmodl.fault.ManagedObjectNotFound):  # the simulator lists what is gone
                found[str(this.name)] = this
        return found

    def machine(self, name: str) -> Any:
        return self.all(vim.VirtualMachine)[name]

    def group(self, name: str) -> Any:
        return self.all(vim.dvs.DistributedVirtualPortgroup)[name]

    def cards(self, name: str) -> list[Any]:
        devices = self.machine(name).config.hardware.device
        cards = [d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)]
        return sorted(cards, key=lambda card: int(card.key))

    def drive(self, name: str) -> Any:
        devices = self.machine(name).config.hardware.device
        return next(d for d in devices if isinstance(d, vim.vm.device.VirtualCdrom))

    def edit(self, name: str, device: Any, operation: str = "edit") -> None:
        change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
        self.machine(name).ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change]))

    def add_machine(self, name: str) -> None:
        files = vim.vm.FileInfo(vmPathName="[LocalDS_0]")
        spec = vim.vm.ConfigSpec(
            name=name, guestId="otherGuest", memoryMB=32, numCPUs=1, files=files
        )
        self.center.vmFolder.CreateVM_Task(spec, self.cluster.resourcePool)

    def add_group(self, name: str, switch: str, vlan: int) -> None:
        to = self.all(vim.DistributedVirtualSwitch)[switch]
        tag = vim.dvs.VmwareDistributedVirtualSwitch.VlanIdSpec(vlanId=vlan, inherited=False)
        policy = vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy(vlan=tag)
        kind: Any = vim.dvs.DistributedVirtualPortgroup.ConfigSpec
        spec: Any = kind(name=name, type="earlyBinding", numPorts=8, defaultPortConfig=policy)
        to.AddDVPortgroup_Task([spec])


@contextmanager
def admin(simulator: vcenter.Simulator) -> Iterator[Admin]:
    address = trust.Address.of(simulator.address, 443)
    session = SmartConnect(
        host=address.host,
        port=address.port,
        user=vcenter.USER,
        pwd=vcenter.SECRET,
        sslContext=trust.context(address, simulator.authority.path, None),
    )
    try:
        yield Admin(session)
    finally:
        Disconnect(session)
        session._stub.DropConnections()


# --- what is made -------------------------------------------------------------------------


def test_the_lab_is_made_as_the_model_says(desk: Desk, simulator: vcenter.Simulator) -> None:
    assert desk.good().out == "all of the lab lvslab is there\n"
    lab = load_lab(desk.lab_file)
    with admin(simulator) as other:
        for node, this in lab.nodes.items():
            machine = other.machine(f"lvslab-{node}")
            assert machine.runtime.powerState == "poweredOn"
            assert machine.config.hardware.memoryMB == this.memory_mib
            settings = {option.key: option.value for option in machine.config.extraConfig}
            cards = zip(other.cards(f"lvslab-{node}"), sorted(this.interfaces.items()), strict=True)
            for number, (card, (interface, network)) in enumerate(cards):
                assert type(card).__name__.endswith(".VirtualE1000")
                assert card.macAddress == lab.mac(node, interface)
                assert card.backing.port.portgroupKey == other.group(f"lvslab-{network}").key
                assert settings[f"ethernet{number}.pciSlotNumber"] == str(32 + number)
            backing = other.drive(f"lvslab-{node}").backing
            assert backing.fileName.startswith(f"[LocalDS_0] lvslab-seeds/lvslab.lvslab.{node}.")
        tags = [
            other.group(f"lvslab-{network}").config.defaultPortConfig.vlan.vlanId
            for network in lab.networks
        ]
        assert tags == [3000, 3001, 3002, 3003]
        (rule,) = other.cluster.configurationEx.rule
        assert isinstance(rule, vim.cluster.AntiAffinityRuleSpec)
        assert sorted(ref.name for ref in rule.vm) == ["lvslab-lvs1", "lvslab-lvs2"]
        (image,) = [n for n in other.all(vim.VirtualMachine) if n.startswith("lvslab-image-dir")]
        template = other.machine(image)
        assert template.config.template
        assert other.cards(image) == []


def test_the_seed_on_the_datastore_is_the_artifact(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.good()
    with admin(simulator) as other:
        store = other.center.datastore[0]
        folder = Path(store.info.url) / "lvslab-seeds"
        sent = {path.name.split(".")[2]: path.read_bytes() for path in folder.iterdir()}
    made = {path.stem: path.read_bytes() for path in (desk.folder / "artifacts/seeds").iterdir()}
    assert sent == made


def test_it_can_be_called_again(desk: Desk, simulator: vcenter.Simulator) -> None:
    desk.good()
    with admin(simulator) as other:
        before = {name: str(ref) for name, ref in other.all(vim.ManagedEntity).items()}
        again = desk.good("--dry-run")
        desk.good()
        after = {name: str(ref) for name, ref in other.all(vim.ManagedEntity).items()}
    assert again.out == "0 steps; nothing was changed\n"
    assert before == after
    assert desk.good("status").out == "all 19 objects of the lab lvslab are as they must be\n"


def test_a_dry_run_says_all_in_order_and_changes_nothing(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    with admin(simulator) as other:
        before = set(other.all(vim.ManagedEntity))
        *steps, end = desk.good("--dry-run").out.splitlines()
        assert set(other.all(vim.ManagedEntity)) == before
    assert not desk.ledger.exists()
    kinds = list(dict.fromkeys(" ".join(step.split()[:2]) for step in steps))
    made = ["network", "image", "seed", "machine", "rule"]
    assert kinds == [*(f"make {kind}" for kind in made), "power on"]
    assert end == "19 steps; nothing was changed"


def test_each_student_has_the_lab_and_networks_of_his_own(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    with admin(simulator) as other:
        keys = {
            student: {
                card.backing.port.portgroupKey for card in other.cards(f"lvslab-{student}-lvs1")
            }
            for student in desk.students
        }
        macs = [
            [card.macAddress for card in other.cards(f"lvslab-{student}-lvs1")]
            for student in desk.students
        ]
        groups = other.all(vim.dvs.DistributedVirtualPortgroup)
        ours = [group for name, group in groups.items() if name.startswith("lvslab-")]
        vlans = [group.config.defaultPortConfig.vlan.vlanId for group in ours]
        images = [name for name in other.all(vim.VirtualMachine) if "image" in name]
    assert not keys["alice"] & keys["bob"]
    assert macs[0] == macs[1]
    assert sorted(vlans) == list(range(3000, 3008))
    assert len(images) == 2


def test_networks_that_end_at_a_host_keep_a_lab_together(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.site |= {"reach": "host", "switch": "DVS0"}
    desk.students = ["alice", "bob"]
    desk.good()
    with admin(simulator) as other:
        rules = other.cluster.configurationEx.rule
        assert {type(rule) for rule in rules} == {vim.cluster.AffinityRuleSpec}
        assert sorted(len(rule.vm) for rule in rules) == [4, 4]


def test_a_value_that_a_clone_does_not_take_is_changed_after_it(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    """The simulator's clones have the image's memory, whatever the call says."""
    address = "addresses: {eth1: 192.168.100.20, eth2: 192.168.200.20}"
    desk.change_lab(address, f"{address}\n    memory_mib: 1024\n    cpus: 2")
    desk.make_artifacts()
    desk.good()
    with admin(simulator) as other:
        found = {name: other.machine(f"lvslab-{name}").config.hardware for name in ("rs1", "rs2")}
    assert [(h.memoryMB, h.numCPU) for h in found.values()] == [(512, 1), (1024, 2)]


# --- what is wrong is seen, and fixed if it is ours ------------------------------------------


def test_a_wrong_mac_is_seen_and_fixed(desk: Desk, simulator: vcenter.Simulator) -> None:
    desk.good()
    with admin(simulator) as other:
        card = other.cards("lvslab-rs1")[1]
        right, card.macAddress = card.macAddress, "00:50:56:3f:00:01"
        other.edit("lvslab-rs1", card)
        seen = desk.run("status")
        assert seen.status == 1
        assert (
            f"change machine lvslab-rs1: eth1 is lvslab-VMnet12 00:50:56:3f:00:01, and must be "
            f"lvslab-VMnet12 {right}\n"
        ) in seen.out
        desk.good()
        assert other.cards("lvslab-rs1")[1].macAddress == right
    desk.good("status")


def test_a_card_in_the_network_of_another_student_is_seen_and_fixed(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    with admin(simulator) as other:
        card = other.cards("lvslab-bob-lvs1")[1]
        card.backing.port.portgroupKey = other.group("lvslab-alice-VMnet1").key
        other.edit("lvslab-bob-lvs1", card)
        assert "eth1 is lvslab-alice-VMnet1 " in desk.run("status").out
        desk.good()
    desk.good("status")


def test_a_card_too_many_and_a_loose_one(desk: Desk, simulator: vcenter.Simulator) -> None:
    desk.good()
    with admin(simulator) as other:
        extra = vim.vm.device.VirtualE1000(key=-1, addressType="generated")
        extra.backing = other.cards("lvslab-rs1")[0].backing
        other.edit("lvslab-rs1", extra, "add")
        loose = other.cards("lvslab-rs2")[0]
        loose.connectable.startConnected = False
        other.edit("lvslab-rs2", loose)
        seen = desk.run("status").out
        assert "and must be absent" in seen
        assert "(not connected at power-on)" in seen
        desk.good()
        assert len(other.cards("lvslab-rs1")) == 3
    desk.good("status")


def test_two_students_with_one_vlan_are_seen_and_told_apart(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    with admin(simulator) as other:
        group, same = other.group("lvslab-bob-VMnet1"), other.group("lvslab-alice-VMnet1")
        kind: Any = vim.dvs.DistributedVirtualPortgroup.ConfigSpec
        spec = kind(
            name=group.name,
            description=group.config.description,
            defaultPortConfig=same.config.defaultPortConfig,
        )
        group.ReconfigureDVPortgroup_Task(spec)
        seen = desk.run("status")
        assert seen.status == 1
        assert (
            "problem: networks with the same number, 3001, hear each other: "
            "lvslab-alice-VMnet1, lvslab-bob-VMnet1\n"
        ) in seen.out
        desk.good()
    desk.good("status")


def test_a_vlan_of_somebody_else_is_left_out(desk: Desk, simulator: vcenter.Simulator) -> None:
    with admin(simulator) as other:
        other.add_group("office", "DVS1", 3001)
        desk.good()
        vlans = [
            other.group(f"lvslab-{name}").config.defaultPortConfig.vlan.vlanId
            for name in ("VMnet8", "VMnet1", "VMnet12", "VMnet13")
        ]
        assert vlans == [3000, 3002, 3003, 3004]
        other.add_group("guests", "DVS1", 3002)
    ended = desk.run()
    assert ended.status == 1
    assert (
        "networks with the same number, 3002, hear each other: guests, lvslab-VMnet1" in ended.out
    )


@pytest.mark.parametrize(
    ("switch", "reach", "told"),
    [
        ("DVS1", "host", "DVS1 leads to a real network (vmnic1 of DC0_C0_H0, "),
        ("DVS0", "cluster", "DVS0 has no physical adapter on DC0_C0_H0"),
    ],
)
def test_a_switch_that_leads_elsewhere_is_refused(
    desk: Desk, simulator: vcenter.Simulator, switch: str, reach: str, told: str
) -> None:
    desk.site |= {"switch": switch, "reach": reach}
    ended = desk.run()
    assert (ended.status, told in ended.err) == (2, True)
    assert not desk.ledger.exists()
    assert told in desk.run("--dry-run").out
    with admin(simulator) as other:
        assert other.all(vim.VirtualMachine) == {}


def test_a_machine_that_was_switched_off_is_started(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.good()
    with admin(simulator) as other:
        other.machine("lvslab-rs1").PowerOffVM_Task()
        assert desk.run("status").out == "power on lvslab-rs1\n"
        desk.good()
        assert other.machine("lvslab-rs1").runtime.powerState == "poweredOn"


def test_another_seed_gets_into_the_drive(desk: Desk, simulator: vcenter.Simulator) -> None:
    desk.good()
    with admin(simulator) as other:
        before = other.drive("lvslab-rs1").backing.fileName
        desk.change_lab("user: student", "user: pupil")
        desk.make_artifacts()
        ended = desk.good()
        assert other.drive("lvslab-rs1").backing.fileName != before
    assert ended.out.count("no longer wanted, and left alone: seed ") == 4


def test_another_image_changes_no_machine_and_is_reported(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.good()
    desk.make_artifacts(b"another disk")
    ended = desk.run()
    assert ended.status == 1
    assert desk.run("status").out.count("report machine lvslab-") == 4
    desk.good("remove")
    desk.good()
    with admin(simulator) as other:
        assert len([name for name in other.all(vim.VirtualMachine) if "image" in name]) == 2


# --- half-finished -------------------------------------------------------------------------


def test_an_image_that_was_not_finished_is_made_again(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.good()
    desk.good("remove")
    desk.students = ["alice"]
    with admin(simulator) as other:
        before = desk.good("--dry-run").out
        desk.good()
        name = next(name for name in other.all(vim.VirtualMachine) if "image-director" in name)
        image = other.machine(name)
        desk.good("remove", "--student", "alice")
        assert name not in other.all(vim.VirtualMachine)
        desk.good()
        image = other.machine(name)
        image.MarkAsVirtualMachine(other.cluster.resourcePool)
        image.RemoveAllSnapshots_Task()
        assert f"change image {name}: whole is no, and must be yes" in desk.run("status").out
        desk.good()
        assert other.machine(name).snapshot
    assert f"make image {name}" in before


def test_what_is_missing_is_made_and_the_rest_stays(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    with admin(simulator) as other:
        stays = str(other.machine("lvslab-alice-rs1"))
        gone = other.machine("lvslab-alice-lvs1")
        gone.PowerOffVM_Task()
        gone.Destroy_Task()
        desk.good()
        assert str(other.machine("lvslab-alice-rs1")) == stays
        assert other.machine("lvslab-alice-lvs1").runtime.powerState == "poweredOn"
    desk.good("status")


def test_the_numbers_are_read_from_the_cluster_if_the_ledger_is_lost(desk: Desk) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    before = json.loads(desk.ledger.read_text())
    desk.ledger.unlink()
    desk.students = ["bob", "carol", "alice"]
    desk.good()
    after = json.loads(desk.ledger.read_text())["network"]
    assert {key: after[key] for key in before["network"]} == before["network"]
    assert len(set(after.values())) == 12


# --- what others made, and removing -----------------------------------------------------------


def test_what_others_made_is_refused_and_never_touched(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    with admin(simulator) as other:
        other.add_machine("lvslab-rs1")
        other.add_group("lvslab-VMnet1", "DVS1", 7)
        ended = desk.run()
        assert ended.status == 2
        assert "  machine lvslab-rs1, without a mark of ours\n" in ended.err
        assert "  network lvslab-VMnet1, without a mark of ours\n" in ended.err
        assert desk.good("remove").out == "0 objects of the lab lvslab are removed\n"
        assert "lvslab-rs1" in other.all(vim.VirtualMachine)


def test_an_image_s_name_on_a_foreign_machine(desk: Desk, simulator: vcenter.Simulator) -> None:
    plan = desk.good("--dry-run").out.splitlines()
    name = next(line.split()[2] for line in plan if line.startswith("make image"))
    with admin(simulator) as other:
        other.add_machine(name)
    ended = desk.run()
    assert (ended.status, f"image {name}, without a mark of ours" in ended.err) == (2, True)


def test_remove_leaves_nothing_of_ours(desk: Desk, simulator: vcenter.Simulator) -> None:
    with admin(simulator) as other:
        other.add_machine("somebody")
        before = set(other.all(vim.ManagedEntity))
        desk.students = ["alice", "bob"]
        desk.good()
        told = desk.good("remove", "--dry-run").out.splitlines()
        assert told[0].startswith("power off lvslab-")
        desk.good("remove")
        assert set(other.all(vim.ManagedEntity)) == before
        assert list(other.cluster.configurationEx.rule) == []
        folder = Path(other.center.datastore[0].info.url) / "lvslab-seeds"
        assert list(folder.iterdir()) == []
    assert json.loads(desk.ledger.read_text())["network"] == {}


def test_one_student_is_removed_and_the_others_work_on(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    desk.good("remove", "--student", "alice")
    with admin(simulator) as other:
        names = set(other.all(vim.VirtualMachine))
    assert not any("alice" in name for name in names)
    assert len(names) == 6
    desk.good("--student", "bob")
    desk.students = ["bob"]
    desk.good("status")


def test_a_student_who_left_is_told_and_left_alone(
    desk: Desk, simulator: vcenter.Simulator
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    desk.students = ["bob"]
    assert "no longer wanted, and left alone: machine lvslab-alice-lvs1\n" in desk.good().out
    with admin(simulator) as other:
        assert "lvslab-alice-lvs1" in other.all(vim.VirtualMachine)


# --- who is who ----------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.site["ca"] = str(Authority(tmp_path, "other").path)
    ended = desk.run()
    assert ended.status == 2
    assert "the certificate of 127.0.0.1 is not trusted: " in ended.err
    assert "--thumbprint SHA256" in ended.err


def test_a_thumbprint_in_place_of_an_authority(desk: Desk, simulator: vcenter.Simulator) -> None:
    right = thumbprint(simulator.authority.path.with_name("server.pem"))
    del desk.site["ca"]
    assert desk.run("--dry-run").status == 2
    desk.good("--thumbprint", right)
    wrong = "0" * 64
    ended = desk.run("--thumbprint", wrong)
    assert ended.status == 2
    assert f"127.0.0.1 shows a certificate whose sha256 is {right.replace(':', '')}" in ended.err
    assert "64 digits" in desk.run("--thumbprint", "ab:cd").err


def test_a_wrong_password_is_said_and_not_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, vcenter.USER, "not-the-password")
    ended = desk.run("-v")
    assert ended.status == 2
    assert "127.0.0.1 refuses the user teacher with this password" in ended.err
    assert "not-the-password" not in ended.text


def test_no_secret_is_in_what_is_written(desk: Desk) -> None:
    ended = desk.good("-v", "--json")
    assert vcenter.SECRET not in ended.text
    for path in desk.folder.rglob("*"):
        if path.is_file():
            assert vcenter.SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("datacenter", "vSphere has no datacenter nowhere"),
        ("cluster", "vSphere has no cluster nowhere"),
        ("folder", "vSphere has no folder nowhere"),
        ("datastore", "vSphere has no datastore nowhere"),
        ("switch", "vSphere has no distributed switch nowhere"),
    ],
)
def test_a_place_that_is_not_there(desk: Desk, key: str, told: str) -> None:
    desk.site[key] = "nowhere"
    ended = desk.run()
    assert (ended.status, told in ended.err) == (2, True), ended.err


def test_a_server_that_does_not_answer(desk: Desk) -> None:
    desk.site["server"] = "127.0.0.1:1"
    ended = desk.run()
    assert (ended.status, "127.0.0.1, port 1, cannot be reached" in ended.err) == (4, True)


def test_json(desk: Desk) -> None:
    planned = desk.good("--dry-run", "--json").objects("step")
    assert planned[0] == {
        "event": "step",
        "act": "make",
        "what": "network",
        "name": "lvslab-VMnet8",
        "differences": [],
    }
    assert desk.good("--json").objects("deployed") == [{"event": "deployed", "machines": 4}]
    found = desk.good("status", "--json").objects("object")
    assert len(found) == 19
    assert all(this["ok"] for this in found)
    assert desk.good("remove", "--json").objects("removed") == [{"event": "removed", "objects": 19}]


def test_names_too_long_for_vsphere_are_refused(desk: Desk, simulator: vcenter.Simulator) -> None:
    desk.change_lab("name: lvslab", f"name: {'l' * 31}")
    desk.change_lab("rs1", "r" * 31)
    desk.make_artifacts()
    desk.students = ["s" * 31]
    ended = desk.run()
    assert ended.status == 2
    assert "has 95 characters, and this platform takes 80" in ended.err
    with admin(simulator) as other:
        assert other.all(vim.VirtualMachine) == {}
