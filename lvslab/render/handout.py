"""What a teacher hands out besides disks: .vmx files, scripts for the host, the student sheet."""

from __future__ import annotations

from ipaddress import IPv4Network

from lvslab.model.family import (
    IPV4,
    IPV6,
    AddressInterface,
    in_url,
    of_family,
    silent_lan,
    with_prefix,
)
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
        cidr = vmware_cidr(lab, name)
        found |= {
            f"{prefix}_DHCP": "no",
            f"{prefix}_HOSTONLY_NETMASK": str(cidr.netmask),
            f"{prefix}_HOSTONLY_SUBNET": str(cidr.network_address),
            f"{prefix}_NAT": "no",
            f"{prefix}_VIRTUAL_ADAPTER": "yes" if network.hosts else "no",
        }
        if network.hosts:
            found[f"{prefix}_VIRTUAL_ADAPTER_ADDR"] = str(_vmware_host(lab, name).ip)
    return found


def vmware_cidr(lab: Lab, network: str) -> IPv4Network:
    """The IPv4 network that VMware gets told: it cannot do without, and has no word for IPv6."""
    own = of_family(lab.networks[network].cidrs, IPV4)
    return own if isinstance(own, IPv4Network) else silent_lan(number(network))


def _vmware_host(lab: Lab, network: str) -> AddressInterface:
    """The host's IPv4 address on a network, or, where that is IPv6 alone, one that nobody asks."""
    own = of_family(lab.hosts_on(network), IPV4)
    cidr = vmware_cidr(lab, network)
    return own or with_prefix(cidr[-2], cidr.prefixlen)


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
            "subnet": str(vmware_cidr(lab, name).network_address),
            "mask": str(vmware_cidr(lab, name).netmask),
            "prefix": vmware_cidr(lab, name).prefixlen,
            "host": str(_vmware_host(lab, name).ip) if network.hosts else "",
            "ipv6": str(of_family(lab.hosts_on(name), IPV6) or ""),
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
        "host": str(_vmware_host(lab, client)),
        "ipv6_host": str(of_family(lab.hosts_on(client), IPV6) or ""),
        "hosts": list(map(str, lab.hosts_on(client))),
        "client_network": client,
        "vips": list(dict.fromkeys(in_url(lab.endpoint(name)[0]) for name in lab.virtual_servers)),
        "direct": any(map(lab.answers_directly, lab.virtual_servers)),
        "directors": list(lab.nodes_of(Kind.DIRECTOR)),
        "real_servers": list(lab.nodes_of(Kind.SERVER)),
        "unit": lab.service(next(iter(lab.virtual_servers))).unit.removesuffix(".service"),
        "memory": sum(node.memory_mib for node in lab.nodes.values()),
    }
