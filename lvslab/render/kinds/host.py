"""A host: static addresses and nothing of LVS, such as a client or a database."""

from __future__ import annotations

from lvslab.model.lab import Lab
from lvslab.render.kinds.plain import kernel, modules, readers
from lvslab.render.kinds.shared import Facts, interface_facts, static_addresses, wired

__all__ = ["addresses", "facts", "kernel", "modules", "readers"]

addresses = static_addresses


def facts(lab: Lab, node: str) -> Facts:
    """Interfaces: where there are VRRP addresses, these must answer."""
    neighbours = {network: _vrrp_addresses(lab, network) for network in wired(lab, node).values()}
    return {"interfaces": interface_facts(lab, node, neighbours)}


def _vrrp_addresses(lab: Lab, network: str) -> list[str]:
    return [str(this.address) for this in lab.vrrp_instances.values() if this.network == network]
