"""The kinds of machines: one module each, looked up by what `role.yaml` says."""

from __future__ import annotations

from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from lvslab.render.kinds import director, host, server
from lvslab.render.kinds.shared import MachineKind

__all__ = ["KINDS", "MachineKind", "kind_of"]

KINDS: dict[Kind, MachineKind] = {
    Kind.DIRECTOR: director,
    Kind.SERVER: server,
    Kind.HOST: host,
}


def kind_of(lab: Lab, node: str) -> MachineKind:
    """The kind of a node."""
    return KINDS[lab.kind_of(node)]
