"""The script that a bake runs in the machine: is the role what it should be?"""

from __future__ import annotations

import json
from collections.abc import Iterator

from lvslab.core.files import sha256_text
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render.kinds import KINDS
from lvslab.render.machine_files import (
    cluster_interfaces,
    guarded_units,
    kernel_settings,
    role_files,
    units,
)
from lvslab.render.texts import render


def assert_script(lab: Lab, spec: RoleSpec) -> str:
    """A Python script for root inside the machine: one line a check, status 1 if one failed.

    Checks packages, the role's files (content, mode, owner), units, kernel modules and
    settings, and lets keepalived, sshd and the role's programs read their configuration.
    keepalived gets a network namespace that has the cluster's interfaces.
    """
    wanted = {
        "packages": list(spec.packages),
        "files": {
            path: (sha256_text(file.content), file.mode)
            for path, file in role_files(lab, spec).items()
        },
        "enabled": units(lab, spec),
        "masked": list(spec.mask),
        "guarded": guarded_units(lab, spec),
        "modules": KINDS[spec.kind].modules(lab, spec),
        "sysctl": kernel_settings(lab, spec),
        "interfaces": list(cluster_interfaces(lab, spec.name)),
        "readings": list(_readings(lab, spec)),
        "directors": KINDS[spec.kind].readers(lab),
    }
    values = {"spec": spec, "wanted": json.dumps(wanted, indent=1)}
    return render("roles/common/assert.py.j2", values)


def _readings(lab: Lab, spec: RoleSpec) -> Iterator[dict[str, object]]:
    """Each program that must take its configuration; once for each port that it must name."""
    ports = sorted({port for service in spec.services for port in lab.ports_wanted(service)})
    for reading in spec.readings:
        for port in ports if "{port}" in reading.model_dump_json() else [0]:
            texts = reading.model_dump(mode="json")
            yield {
                key: text if isinstance(text, list) else text.replace("{port}", str(port))
                for key, text in texts.items()
            }
