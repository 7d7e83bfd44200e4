"""A machine of vSphere: what it is, read from its devices, and the specs that make and change it.

Source: vSphere Web Services API, VirtualMachineConfigSpec. `extraConfig` has VMX keys; those
that begin with `lvslab.` are our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lvslab.deploy.wanted import WantedCard, WantedMachine

MARK = "lvslab.mark"
IMAGE = "lvslab.image"
_NEW = -1000
"""Keys of devices that a spec adds are negative; the server gives them their own."""


@dataclass(frozen=True)
class PortGroup:
    """A distributed port group: the object, its key, and the UUID of its switch."""

    ref: Any
    key: str
    switch: str


Refs = Mapping[tuple[str, str], Any]
"""Kind and name to what `find` saw: the object, or the port group."""


def extra(options: Iterable[Any]) -> dict[str, str]:
    """The extraConfig of a machine as texts."""
    return {option.key: str(option.value) for option in options}


def state(
    hardware: Any, settings: Mapping[str, str], networks: Mapping[str, str]
) -> dict[str, str]:
    """The state of a machine, as `WantedMachine.state` has it; `networks` are names by key."""
    found = {
        "image": settings.get(IMAGE, ""),
        "seed": _seed(hardware.device),
        "memory": str(hardware.memoryMB),
        "cpus": str(hardware.numCPU),
    }
    for number, card in enumerate(_cards(hardware.device)):
        found[f"eth{number}"] = _card_text(card, networks)
    return found


def _cards(devices: Sequence[Any]) -> list[Any]:
    """The network cards in the order of their keys, which is the guest's."""
    cards = [this for this in devices if isinstance(this, vim.vm.device.VirtualEthernetCard)]
    return sorted(cards, key=lambda card: int(card.key))


def _card_text(card: Any, networks: Mapping[str, str]) -> str:
    port = getattr(card.backing, "port", None)
    network = networks.get(port.portgroupKey, "") if port else ""
    words = [network or "an unknown network", str(card.macAddress).lower()]
    if card.connectable and not card.connectable.startConnected:
        words.append("(not connected at power-on)")
    return " ".join(words)


def _drive(devices: Sequence[Any]) -> Any:
    return next((this for this in devices if isinstance(this, vim.vm.device.VirtualCdrom)), None)


def _seed(devices: Sequence[Any]) -> str:
    """The file in the CD-ROM drive, without its folder; empty if there is none."""
    drive = _drive(devices)
    name = getattr(drive.backing, "fileName", "") if drive else ""
    return str(name).rpartition("/")[2]


def cloned(wanted: WantedMachine, devices: Sequence[Any], refs: Refs, seed: str) -> Any:
    """The spec with which an image's clone becomes this machine; `devices` are the image's."""
    options = {MARK: wanted.mark.text, IMAGE: wanted.image, **_slots(wanted.cards)}
    cards = [_added(_new_card(number, card, refs)) for number, card in enumerate(wanted.cards)]
    controller = next(d for d in devices if isinstance(d, vim.vm.device.VirtualIDEController))
    drive = vim.vm.device.VirtualCdrom(
        key=_NEW - len(cards), controllerKey=controller.key, unitNumber=0
    )
    return vim.vm.ConfigSpec(
        numCPUs=wanted.cpus,
        memoryMB=wanted.memory_mib,
        annotation=f"{wanted.mark.of} of the lab {wanted.mark.lab} {wanted.mark.student}".strip(),
        extraConfig=[vim.option.OptionValue(key=k, value=v) for k, v in options.items()],
        deviceChange=[*cards, _added(_with_seed(drive, seed))],
    )


def changed(
    wanted: WantedMachine, found: Mapping[str, str], devices: Sequence[Any], refs: Refs, seed: str
) -> Any:
    """The spec with which a machine, whose state and devices these are, becomes what it must be."""
    config: Any = vim.vm.ConfigSpec(deviceChange=_card_changes(wanted.cards, found, devices, refs))
    if found.get("memory") != str(wanted.memory_mib):
        config.memoryMB = wanted.memory_mib
    if found.get("cpus") != str(wanted.cpus):
        config.numCPUs = wanted.cpus
    drive = _drive(devices)
    if found.get("seed") != wanted.seed and drive:
        config.deviceChange.append(_edited(_with_seed(drive, seed)))
    return config


def _card_changes(
    cards: Sequence[WantedCard], found: Mapping[str, str], devices: Sequence[Any], refs: Refs
) -> list[Any]:
    """Cards that differ get their network and MAC back, missing ones come, others go."""
    present = _cards(devices)
    changes = []
    for number, card in enumerate(cards):
        if number >= len(present):
            changes.append(_added(_new_card(number, card, refs)))
        elif found.get(card.interface) != card.text:
            changes.append(_edited(_plugged(present[number], card, refs)))
    changes += [
        vim.vm.device.VirtualDeviceSpec(operation="remove", device=card)
        for card in present[len(cards) :]
    ]
    return changes


def _slots(cards: Sequence[WantedCard]) -> dict[str, str]:
    """Where the cards are on the PCI bus: the guest numbers its interfaces in that order."""
    return {f"ethernet{n}.pciSlotNumber": str(card.slot) for n, card in enumerate(cards)}


def _new_card(number: int, card: WantedCard, refs: Refs) -> Any:
    return _plugged(vim.vm.device.VirtualE1000(key=_NEW - number), card, refs)


def _plugged(device: Any, card: WantedCard, refs: Refs) -> Any:
    """A card with the network and the MAC that it must have; the rest of it stays."""
    group: PortGroup = refs["network", card.network]
    port = vim.dvs.PortConnection(portgroupKey=group.key, switchUuid=group.switch)
    kind: Any = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo
    device.backing, device.connectable = kind(port=port), _connected()
    device.addressType, device.macAddress = "manual", card.mac
    return device


def _connected() -> Any:
    return vim.vm.device.VirtualDevice.ConnectInfo(
        startConnected=True, connected=True, allowGuestControl=True
    )


def _with_seed(drive: Any, seed: str) -> Any:
    drive.backing = vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=seed)
    drive.connectable = _connected()
    return drive


def _added(device: Any) -> Any:
    return vim.vm.device.VirtualDeviceSpec(operation="add", device=device)


def _edited(device: Any) -> Any:
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)
