"""What a teacher hands out besides disks: .vmx files, scripts for the host, the student sheet."""

from __future__ import annotations

from lvslab.model.lab import NAT_NETWORK, Lab, Network
from lvslab.model.role import Kind
from lvslab.render.picture import svg
from lvslab.render.texts import render
from lvslab.render.vmware_machine import connection, vmx

NETWORKS_SH = "networks.sh"
NETWORKS_PS1 = "networks.ps1"
PATCH_SH = "patch-vmx.sh"
PATCH_PS1 = "patch-vmx.ps1"
SHEET = "START-HERE.txt"
PICTURE = "lab.svg"


def handout(lab: Lab) -> dict[str, str]:
    """Every text of the VMware folder by its path in it."""
    texts = {f"{node}/{node}.vmx": vmx(lab, node) for node in lab.nodes}
    values = _values(lab)
    texts[PICTURE] = svg(lab)
    for name in (NETWORKS_SH, NETWORKS_PS1, PATCH_SH, PATCH_PS1, SHEET):
        texts[name] = render(f"vmware/{name}.j2", values)
    return texts


def answers(lab: Lab) -> dict[str, str]:
    """What /etc/vmware/networking must say of the lab's host-only networks (`answer KEY VALUE`).

    The host has an address on the client's network alone. Without one of its own choice
    VMware would take the first of each network, and that is a VIP or a DIP.
    """
    found: dict[str, str] = {}
    for name, network in host_only(lab).items():
        prefix = f"VNET_{number(name)}"
        cidr = lab.cidr(name)
        found |= {
            f"{prefix}_DHCP": "no",
            f"{prefix}_HOSTONLY_NETMASK": str(cidr.netmask),
            f"{prefix}_HOSTONLY_SUBNET": str(cidr.network_address),
            f"{prefix}_NAT": "no",
            f"{prefix}_VIRTUAL_ADAPTER": "yes" if network.host else "no",
        }
        if network.host:
            found[f"{prefix}_VIRTUAL_ADAPTER_ADDR"] = str(network.host)
    return found


def wiring(lab: Lab, role: str) -> list[tuple[str, str]]:
    """connectionType and vnet of each card of a role, in order (all its nodes have the same)."""
    node = next(iter(lab.nodes_with(role).values()))
    return [connection(lab, network) for _, network in sorted(node.interfaces.items())]


def host_only(lab: Lab) -> dict[str, Network]:
    """The host-only networks of the lab."""
    return {name: net for name, net in lab.networks.items() if net.kind == "host-only"}


def other_nats(lab: Lab) -> list[str]:
    """NAT networks that VMware does not make by itself, and no script can: all but VMnet8."""
    nats = [name for name, net in lab.networks.items() if net.kind == "nat"]
    return [name for name in nats if name != NAT_NETWORK]


def number(network: str) -> int:
    """The number of a VMnet."""
    return int(network.removeprefix("VMnet"))


def _values(lab: Lab) -> dict[str, object]:
    networks = [
        {
            "name": name,
            "number": number(name),
            "subnet": str(lab.cidr(name).network_address),
            "mask": str(lab.cidr(name).netmask),
            "prefix": lab.cidr(name).prefixlen,
            "host": str(network.host or ""),
        }
        for name, network in host_only(lab).items()
    ]
    client = lab.client_network
    return {
        "lab": lab,
        "networks": networks,
        "nats": [{"name": name, "number": number(name)} for name in other_nats(lab)],
        "answers": answers(lab),
        "wirings": {role: wiring(lab, role) for role in lab.roles},
        "host": f"{lab.networks[client].host}/{lab.cidr(client).prefixlen}",
        "client_network": client,
        "vips": list(dict.fromkeys(lab.endpoint(name)[0] for name in lab.virtual_servers)),
        "direct": any(map(lab.answers_directly, lab.virtual_servers)),
        "directors": list(lab.nodes_of(Kind.DIRECTOR)),
        "real_servers": list(lab.nodes_of(Kind.SERVER)),
        "unit": lab.service(next(iter(lab.virtual_servers))).unit.removesuffix(".service"),
        "memory": sum(node.memory_mib for node in lab.nodes.values()),
    }
