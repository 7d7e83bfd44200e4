"""A machine's hardware as values, and the QEMU command line that makes it.

The default is what VMware Workstation gives: Intel PRO/1000 NICs behind a PCI bridge, an
LSI SAS controller, the seed on an IDE CD-ROM. QEMU's models have the same PCI ids, so the
same drivers of the guest are at work.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvslab.core.errors import MissingError
from lvslab.lab.network import tap_name
from lvslab.lab.state import NodeFiles
from lvslab.model.lab import Lab

DiskController = Literal["lsisas", "pvscsi", "ahci", "virtio"]
NicModel = Literal["e1000", "vmxnet3", "virtio"]
Firmware = Literal["bios", "uefi"]
Hardware = Literal["vmware", "vmware-sata", "virtio"]

NIC_DEVICE = {
    "e1000": "e1000-82545em",
    "vmxnet3": "vmxnet3",
    "virtio": "virtio-net-pci",
}
_CONTROLLER: dict[Hardware, DiskController] = {
    "vmware": "lsisas",
    "vmware-sata": "ahci",
    "virtio": "virtio",
}
_FIRST_SLOT = 1
_FIRST_SSH_PORT = 2201
AGENT_IRQ = 5  # COM3 would share COM1's, and ISA cannot
WWN = 0x5000C50015EA7000  # LSI SAS in QEMU finds a disk by its world wide name only
_OVMF_CODE = (
    Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
    Path("/usr/share/OVMF/OVMF_CODE.fd"),
    Path("/usr/share/edk2/x64/OVMF_CODE.4m.fd"),
)


@dataclass(frozen=True)
class Nic:
    """A network card: the guest's name for it, its MAC, its tap (None: NAT), its cable in or out.

    QEMU starts with every cable in: `faults.reapply` pulls those that are out.
    """

    interface: str
    mac: str
    tap: str | None
    model: NicModel = "e1000"
    connected: bool = True


@dataclass(frozen=True)
class Machine:
    """All that QEMU must know of one node."""

    name: str
    memory_mib: int
    cpus: int
    nics: tuple[Nic, ...]
    base_disk: Path
    seed: Path
    ssh_port: int
    controller: DiskController = "lsisas"
    firmware: Firmware = "bios"


def machine(
    lab: Lab,
    node: str,
    base_disk: Path,
    seed: Path,
    ssh_port: int,
    hardware: Hardware = "vmware",
    firmware: Firmware = "bios",
) -> Machine:
    """The machine of a node as lab.yaml describes it."""
    model: NicModel = "virtio" if hardware == "virtio" else "e1000"
    nics = tuple(
        Nic(
            interface,
            lab.mac(node, interface),
            tap_name(lab, node, interface) if lab.networks[network].kind == "host-only" else None,
            model,
        )
        for interface, network in sorted(lab.nodes[node].interfaces.items())
    )
    this = lab.nodes[node]
    return Machine(
        node,
        this.memory_mib,
        this.cpus,
        nics,
        base_disk,
        seed,
        ssh_port,
        _CONTROLLER[hardware],
        firmware,
    )


def ssh_port(lab: Lab, node: str) -> int:
    """The port of the namespace's loopback that leads to a node's SSH."""
    return _FIRST_SSH_PORT + list(lab.nodes).index(node)


def ovmf() -> tuple[Path, Path]:
    """UEFI's code and its empty variables. Raises MissingError."""
    for code in _OVMF_CODE:
        variables = code.with_name(code.name.replace("CODE", "VARS"))
        if code.is_file() and variables.is_file():
            return code, variables
    raise MissingError("UEFI for virtual machines is not installed", hint="apt install ovmf")


def qemu_command(
    machine: Machine,
    files: NodeFiles,
    accelerator: str,
    credentials: Mapping[str, bytes],
    load: str | None = None,
) -> list[str]:
    """The command line that starts `machine`, paused only if it loads the checkpoint `load`.

    `credentials` reach the guest's systemd through SMBIOS (systemd.system-credentials(7)).
    """
    accel = "tcg,thread=multi,tb-size=512" if accelerator == "tcg" else accelerator
    command = ["qemu-system-x86_64", "-name", machine.name, "-nodefaults", "-no-user-config"]
    command += ["-machine", "pc", "-accel", accel]
    if accelerator == "kvm":
        command += ["-cpu", "host"]
    command += ["-m", str(machine.memory_mib), "-smp", str(machine.cpus)]
    command += ["-display", "none", "-vga", "std", "-rtc", "base=utc"]
    command += _firmware(machine, files) + _ports(files)
    command += disk_devices(machine, files) + _seed(machine)
    command += ["-device", "pci-bridge,id=nics,chassis_nr=1,shpc=off"]
    for slot, nic in enumerate(machine.nics, _FIRST_SLOT):
        command += _nic(machine, nic, slot)
    for name, content in credentials.items():
        text = base64.b64encode(content).decode()
        command += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={text}"]
    command += ["-daemonize", "-pidfile", str(files.pid)]
    if load:
        command += ["-S", "-loadvm", load]
    return command


def _firmware(machine: Machine, files: NodeFiles) -> list[str]:
    if machine.firmware == "bios":
        return []
    code, _ = ovmf()
    return [
        "-drive",
        f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
        "-drive",
        f"if=pflash,unit=1,format=qcow2,file={files.firmware_vars}",
    ]


def _ports(files: NodeFiles) -> list[str]:
    """The monitor, the console (with its log) and the agent's serial port."""
    return [
        "-qmp",
        f"unix:{files.qmp},server=on,wait=off",
        "-chardev",
        f"socket,id=console,path={files.console},server=on,wait=off,"
        f"logfile={files.console_log},logappend=on",
        "-serial",
        "chardev:console",
        "-chardev",
        f"socket,id=agent,path={files.agent},server=on,wait=off",
        "-device",
        f"isa-serial,chardev=agent,index=2,irq={AGENT_IRQ}",
    ]


def disk_devices(machine: Machine, files: NodeFiles) -> list[str]:
    """The drive of a machine and the controller that it is on, as words of QEMU's command."""
    # cache=unsafe: the overlay lives no longer than the lab, and QEMU survives the guest
    drive = f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={files.disk}"
    device = {
        "lsisas": ["-device", "mptsas1068,id=scsi", "-device", f"scsi-hd,drive=disk,wwn={WWN}"],
        "pvscsi": ["-device", "pvscsi,id=scsi", "-device", "scsi-hd,bus=scsi.0,drive=disk"],
        "ahci": ["-device", "ich9-ahci,id=sata", "-device", "ide-hd,bus=sata.0,drive=disk"],
        "virtio": ["-device", "virtio-blk-pci,drive=disk"],
    }[machine.controller]
    return ["-drive", drive, *device]


def _seed(machine: Machine) -> list[str]:
    return [
        "-drive",
        f"if=none,id=seed,format=raw,media=cdrom,readonly=on,file={machine.seed}",
        "-device",
        "ide-cd,bus=ide.1,drive=seed",
    ]


def _nic(machine: Machine, nic: Nic, slot: int) -> list[str]:
    if nic.tap is None:
        # as VMware's NAT: DHCP; and nothing leaves this host. The way in is for `lab ssh`.
        forward = f"hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:22"
        backend = f"user,id={nic.interface},restrict=on,ipv6=off,{forward}"
    else:
        backend = f"tap,id={nic.interface},ifname={nic.tap},script=no,downscript=no"
    device = f"{NIC_DEVICE[nic.model]},id=nic-{nic.interface},netdev={nic.interface}"
    return [
        "-netdev",
        backend,
        "-device",
        f"{device},mac={nic.mac},bus=nics,addr={slot:#x},romfile=",
    ]
