"""The script that a bake runs in the machine: is the role what it should be?"""

from __future__ import annotations

import hashlib
import json

from lvslab.model.lab import Lab, Role
from lvslab.model.role import RoleSpec
from lvslab.render.files import (
    cluster_interfaces,
    guarded_units,
    kernel_modules,
    kernel_settings,
    role_files,
    units,
)
from lvslab.render.texts import render


def assert_script(lab: Lab, spec: RoleSpec) -> str:
    """A Python script for root inside the machine: one line a check, status 1 if one failed.

    Checks packages, the role's files (content, mode, owner), units, kernel modules and
    settings, and lets keepalived, sshd and Apache read their configuration. keepalived gets
    a network namespace that has the cluster's interfaces.
    """
    wanted = {
        "packages": list(spec.packages),
        "files": {
            path: (hashlib.sha256(file.content.encode()).hexdigest(), file.mode)
            for path, file in role_files(lab, spec).items()
        },
        "enabled": units(lab, spec),
        "masked": list(spec.mask),
        "guarded": guarded_units(lab, spec),
        "modules": kernel_modules(lab, spec),
        "sysctl": kernel_settings(lab, spec),
        "interfaces": list(cluster_interfaces(lab, Role(spec.name))),
        "ports": lab.service_ports,
        "directors": list(lab.nodes_of(Role.DIRECTOR)) if spec.name == Role.DIRECTOR else [],
    }
    values = {"spec": spec, "wanted": json.dumps(wanted, indent=1)}
    return render("roles/common/assert.py.j2", values)
