"""The .vmx that VMware opens, read back as the machine that QEMU is given."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import get_args

import pytest

from lvslab.cli import main
from lvslab.core.errors import InputError
from lvslab.core.procs import program
from lvslab.formats.vmx import VmxMachine, VmxNic, cards, is_on, read, slots
from lvslab.lab import faults, hardware, vmware_source
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.lab.state import NodeFiles
from lvslab.model.lab import Lab
from lvslab.render.vmware_machine import vmx


def written(folder: Path, text: str) -> Path:
    path = folder / "machine.vmx"
    path.write_text(text)
    return path


@pytest.mark.parametrize("which", ["lab", "wide_lab"])
def test_what_is_rendered_is_read_back(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lab: Lab = request.getfixturevalue(which)
    for name, node in lab.nodes.items():
        machine = read(written(tmp_path, vmx(lab, name)))
        assert (machine.memory_mib, machine.cpus) == (node.memory_mib, node.cpus)
        assert machine.firmware == "bios"
        assert machine.disks == (tmp_path / f"{name}.vmdk",)
        assert machine.controllers == ("lsilogic",)
        assert machine.cdrom == tmp_path / f"{name}.iso"
        assert {nic.interface: nic.vnet for nic in machine.nics} == node.interfaces
        assert {nic.interface: nic.mac for nic in machine.nics} == {
            interface: lab.mac(name, interface) for interface in node.interfaces
        }
        assert [nic.slot for nic in machine.nics] == list(range(32, 32 + len(machine.nics)))
        assert {nic.model for nic in machine.nics} == {"e1000"}


def test_what_a_vmx_leaves_out_is_as_vmware_has_it(lab: Lab, tmp_path: Path) -> None:
    keys = ("numvcpus", "displayName", "firmware")
    lines = [line for line in vmx(lab, "rs1").splitlines() if not line.startswith(keys)]
    machine = read(written(tmp_path, "\n".join(lines)))
    assert (machine.cpus, machine.name, machine.firmware) == (1, "machine", "bios")


@pytest.mark.parametrize("word", ["TRUE", "true", "T", "Yes", "y", "ON", "1"])
def test_each_spelling_of_true(word: str) -> None:
    assert is_on({"a.present": word}, "A.Present")
    assert is_on({"a.present": word}, "a.present", default=False)


@pytest.mark.parametrize("word", ["FALSE", "f", "No", "N", "off", "0"])
def test_each_spelling_of_false(word: str) -> None:
    assert not is_on({"a.present": word}, "a.present", default=True)


@pytest.mark.parametrize("word", ["", "2", "maybe", "TRUE "])
def test_what_is_neither_is_the_default(word: str) -> None:
    assert [is_on({"a": word}, "a", default=default) for default in (True, False)] == [True, False]
    assert not is_on({}, "a")


@pytest.mark.parametrize(
    ("given", "order", "found"),
    [
        (("33", "32"), [1, 0], [32, 33]),
        (("34", "33", "32"), [2, 1, 0], [32, 33, 34]),
        (("33", None, "-1"), [1, 0, 2], [32, 33, 34]),
        (("192", "1184", "160"), [2, 1, 0], [160, 1184, 192]),
        (("2208", "1184"), [1, 0], [1184, 2208]),  # functions 2 and 1 of one bridge
        (("32", "31"), [1, 0], [31, 32]),  # below 32 there is no bridge
        (("32", "32"), [0, 1], [32, 32]),
    ],
)
def test_the_guest_finds_cards_in_the_order_of_buses(
    given: tuple[str | None, ...], order: list[int], found: list[int]
) -> None:
    values = {f"ethernet{n}.present": "TRUE" for n in range(len(given))}
    values |= {f"ethernet{n}.pcislotnumber": s for n, s in enumerate(given) if s is not None}
    assert list(slots(values).items()) == [
        (f"ethernet{n}", slot) for n, slot in zip(order, found, strict=True)
    ]


def test_a_machine_has_ten_cards_at_most() -> None:
    values = {f"ethernet{n}.present": "TRUE" for n in range(12)} | {"ethernet3.present": "FALSE"}
    assert cards(values) == [f"ethernet{n}" for n in range(10) if n != 3]


def test_the_guest_counts_cards_by_slot_and_not_by_number(lab: Lab, tmp_path: Path) -> None:
    """So a .vmx with its slots swapped gives QEMU a machine with its networks swapped."""
    text = vmx(lab, "rs1").replace('"33"', '"x"').replace('"34"', '"33"').replace('"x"', '"34"')
    machine = read(written(tmp_path, text))
    assert [nic.vnet for nic in machine.nics] == ["VMnet8", "VMnet13", "VMnet12"]
    assert machine.nics[1] == VmxNic("eth1", "VMnet13", lab.mac("rs1", "eth2"), 33, "e1000")


@pytest.mark.parametrize("spelling", ["vmnet12", "VMnet12", "/dev/vmnet12"])
def test_every_host_s_spelling_of_a_vmnet(lab: Lab, tmp_path: Path, spelling: str) -> None:
    text = vmx(lab, "rs1").replace('"VMnet12"', f'"{spelling}"')
    assert read(written(tmp_path, text)).nics[1].vnet == "VMnet12"


@pytest.mark.parametrize(
    ("kind", "vnet"), [("nat", "VMnet8"), ("hostonly", "VMnet1"), ("bridged", "VMnet0")]
)
def test_connection_types_without_a_vmnet(lab: Lab, tmp_path: Path, kind: str, vnet: str) -> None:
    text = vmx(lab, "rs1").replace('connectionType = "custom"', f'connectionType = "{kind}"')
    assert [nic.vnet for nic in read(written(tmp_path, text)).nics] == ["VMnet8", vnet, vnet]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('memsize = "512"', "", "memsize is '', not a number"),
        ('memsize = "512"', 'memsize = "much"', "memsize is 'much', not a number"),
        ('scsi0:0.present = "TRUE"', "", "this machine has no disk"),
        ('scsi0.present = "TRUE"', 'scsi0.present = "FALSE"', "this machine has no disk"),
        ('vnet = "VMnet12"', 'vnet = "office"', "ethernet1.vnet is 'office', not a VMnet"),
        ('vnet = "VMnet12"', "", "ethernet1.vnet is '', not a VMnet"),
        ('pciSlotNumber = "33"', 'pciSlotNumber = "x"', "ethernet1.pcislotnumber is 'x'"),
    ],
)
def test_a_machine_that_qemu_cannot_make(
    lab: Lab, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = vmx(lab, "rs1")
    assert old in text
    with pytest.raises(InputError) as caught:
        read(written(tmp_path, text.replace(old, new, 1)))
    assert message in caught.value.message


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such \.vmx"):
        read(tmp_path / "none.vmx")


# --- what QEMU is given


def machines(lab: Lab, folder: Path) -> dict[str, VmxMachine]:
    for node in lab.nodes:
        here = folder / "vmware" / node
        here.mkdir(parents=True, exist_ok=True)
        (here / f"{node}.vmx").write_text(vmx(lab, node))
        (here / f"{node}.iso").touch()
    return {node: vmware_source.machine_of(folder, node) for node in lab.nodes}


@pytest.mark.parametrize("which", ["lab", "wide_lab"])
def test_qemu_gets_from_the_vmx_what_it_gets_from_lab_yaml(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lab: Lab = request.getfixturevalue(which)
    found = machines(lab, tmp_path)
    wires = vmware_source.rewired(lab, found)
    assert wires == lab
    for node in lab.nodes:
        disk, seed = tmp_path / "vmware" / node / f"{node}.vmdk", tmp_path / "seed.iso"
        assert vmware_source.machine(wires, node, found[node], seed, 2201) == hardware.machine(
            lab, node, disk, seed, 2201
        )
        assert vmware_source.seed(found[node], node) == disk.with_suffix(".iso")


def test_a_wrong_vmx_gives_wrong_wires(lab: Lab, tmp_path: Path) -> None:
    """Not lab.yaml's: else the checklist would pass although the .vmx is wrong."""
    found = machines(lab, tmp_path)
    path = tmp_path / "vmware" / "rs1" / "rs1.vmx"
    swapped = path.read_text().replace("VMnet12", "x").replace("VMnet13", "VMnet12")
    path.write_text(
        swapped.replace('"x"', '"VMnet13"')
        .replace("00:50:56:01:03:02", "00:50:56:01:3f:02")
        .replace('memsize = "512"', 'memsize = "300"')
        .replace('firmware = "bios"', 'firmware = "efi"')
    )
    found["rs1"] = vmware_source.machine_of(tmp_path, "rs1")
    wires = vmware_source.rewired(lab, found)
    assert wires.nodes["rs1"].interfaces == {"eth0": "VMnet8", "eth1": "VMnet13", "eth2": "VMnet12"}
    assert wires.nodes["rs2"] == lab.nodes["rs2"]
    machine = vmware_source.machine(wires, "rs1", found["rs1"], tmp_path / "seed.iso", 2201)
    assert machine.memory_mib == 300
    assert machine.firmware == "uefi"
    assert [nic.mac for nic in machine.nics][2] == "00:50:56:01:3f:02"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('vnet = "VMnet12"', 'vnet = "VMnet7"', "eth1 is on VMnet7, which is not a network of"),
        ('Type = "nat"', 'Type = "bridged"', "eth0 is on VMnet0, which is not a network of"),
        ('firmware = "bios"', 'firmware = "coreboot"', "this one has 1 and coreboot"),
        (
            'scsi0:0.present = "TRUE"',
            'scsi0:0.present = "TRUE"\nscsi0:1.present = "TRUE"\nscsi0:1.fileName = "b.vmdk"',
            "this one has 2 and bios",
        ),
        (
            'ethernet1.virtualDev = "e1000"',
            'ethernet1.virtualDev = "vlance"',
            "the card eth1 is 'vlance', which QEMU does not have",
        ),
        (
            'scsi0.virtualDev = "lsilogic"',
            'scsi0.virtualDev = "buslogic"',
            "the disk's controller is 'buslogic', which QEMU does not have",
        ),
        (
            'scsi0.virtualDev = "lsilogic"',
            "",
            "the disk's controller is 'scsi', which QEMU does not have",
        ),
    ],
)
def test_a_machine_that_is_none_of_the_lab_s(
    lab: Lab, tmp_path: Path, old: str, new: str, message: str
) -> None:
    found = machines(lab, tmp_path)
    path = tmp_path / "vmware" / "rs1" / "rs1.vmx"
    path.write_text(path.read_text().replace(old, new, 1))
    found["rs1"] = vmware_source.machine_of(tmp_path, "rs1")
    with pytest.raises(InputError) as caught:
        wires = vmware_source.rewired(lab, found)
        vmware_source.machine(wires, "rs1", found["rs1"], tmp_path / "seed.iso", 2201)
    assert message in caught.value.message


def changed(lab: Lab, folder: Path, old: str, new: str, node: str = "rs1") -> hardware.Machine:
    """What QEMU gets for a node whose .vmx has another text in place of `old`."""
    found = machines(lab, folder)
    path = folder / "vmware" / node / f"{node}.vmx"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found[node] = vmware_source.machine_of(folder, node)
    return vmware_source.machine(
        vmware_source.rewired(lab, found),
        node,
        found[node],
        vmware_source.seed(found[node], node),
        2201,
    )


SATA = 'sata0.present = "TRUE"\nsata0:0.present = "TRUE"\nsata0:0.fileName = "rs1.vmdk"'


@pytest.mark.parametrize(
    ("old", "new", "device"),
    [
        ('virtualDev = "lsilogic"', 'virtualDev = "lsisas1068"', "mptsas1068,"),
        ('virtualDev = "lsilogic"', 'virtualDev = "pvscsi"', "pvscsi,"),
        ('scsi0:0.present = "TRUE"', SATA, "ich9-ahci,"),
        ('scsi0:0.present = "TRUE"', f'{SATA}\nsata0.virtualDev = "ahci"', "ich9-ahci,"),
        ('virtualDev = "e1000"', 'virtualDev = "vmxnet3"', "vmxnet3,id=nic-eth2,"),
    ],
)
def test_qemu_gets_the_models_that_the_vmx_names(
    lab: Lab, tmp_path: Path, old: str, new: str, device: str
) -> None:
    machine = changed(lab, tmp_path, old, new)
    command = hardware.qemu_command(machine, NodeFiles(tmp_path), "tcg", {})
    assert len([word for word in command if word.startswith(device)]) == 1
    assert len([word for word in command if word.startswith(DISK_DEVICES)]) == 1


DISK_DEVICES = ("mptsas1068", "pvscsi", "ich9-ahci", "virtio-blk")


def test_a_controller_of_qemu_s_takes_the_disk(tmp_path: Path) -> None:
    """QEMU itself is asked, and is paused before the first instruction of a guest."""
    disk = tmp_path / "disk.qcow2"
    subprocess.run([program("qemu-img"), "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    for controller in get_args(hardware.DiskController):
        machine = hardware.Machine("x", 64, 1, (), disk, disk, 2201, controller)
        words = hardware.disk_devices(machine, NodeFiles(tmp_path))
        done = subprocess.run(
            [program("qemu-system-x86_64"), "-nodefaults", "-display", "none", "-S", *words]
            + ["-monitor", "stdio"],
            input="quit\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{controller}: {done.stderr}"


def test_a_card_that_is_not_connected_has_no_cable(lab: Lab, tmp_path: Path) -> None:
    machine = changed(
        lab, tmp_path, 'ethernet1.startConnected = "TRUE"', 'ethernet1.startConnected = "FALSE"'
    )
    assert [nic.connected for nic in machine.nics] == [True, False, True]


def test_a_cd_rom_that_is_not_connected_holds_no_seed(lab: Lab, tmp_path: Path) -> None:
    old, new = 'ide1:0.startConnected = "TRUE"', 'ide1:0.startConnected = "FALSE"'
    with pytest.raises(InputError, match="no CD-ROM with an image is connected") as caught:
        changed(lab, tmp_path, old, new)
    assert caught.value.where == "rs1.vmx"
    assert 'ide1:0.startConnected = "TRUE"' in caught.value.hint


def test_its_cable_is_pulled_when_its_qemu_has_started(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVSLAB_STATE", str(tmp_path / "state"))
    changed(lab, tmp_path, 'ethernet2.startConnected = "TRUE"', 'ethernet2.startConnected="FALSE"')
    pulled: list[tuple[str, str, bool]] = []
    cluster = Cluster(lab)
    monkeypatch.setattr(cluster.engine, "plug", lambda *words: pulled.append(words))
    cluster.state.create(cluster.lab.nodes)
    cluster.state.save("settings", vars(Settings(origin="vmware")))
    cluster.state.save("artifacts", str(tmp_path))
    for node in ("rs1", "rs2"):
        cluster.state.save(f"{node}/base", "disk.raw")
        faults.reapply(cluster, node)
    assert pulled == [("rs1", "eth2", False)]


@pytest.mark.parametrize("words", [["--hardware", "vmware"], ["--firmware", "uefi"]])
def test_options_for_what_the_vmx_decides_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["lab", "up", "--from", "vmware", *words]) == 2
    said = capsys.readouterr().err
    assert f"{words[0]}: with --from vmware each .vmx decides on the devices" in said
    assert f"to fix it: remove {words[0]}" in said


def test_missing_folders_and_seeds(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such machine"):
        vmware_source.machine_of(tmp_path, "rs1")
    found = machines(lab, tmp_path)
    (tmp_path / "vmware" / "rs1" / "rs1.iso").unlink()
    with pytest.raises(InputError, match=r"there is no CD-ROM image \(.*rs1\.iso\)"):
        vmware_source.seed(found["rs1"], "rs1")
