"""What a machine without VRRP is: static addresses, and what its role says."""

from __future__ import annotations

from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec


def modules(_lab: Lab, spec: RoleSpec) -> list[str]:
    """The role's."""
    return list(spec.modules)


def kernel(_lab: Lab) -> dict[str, str]:
    """The role's are all."""
    return {}


def readers(_lab: Lab) -> list[str]:
    """None: it has no keepalived.conf."""
    return []
