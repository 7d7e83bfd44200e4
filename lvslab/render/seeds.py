"""cloud-init's texts: what a role's image is baked with, and what makes a node of it."""

from __future__ import annotations

from typing import Any

from lvslab.core.files import sha256_text
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render.kinds import kind_of
from lvslab.render.machine_files import guarded_units, role_files, units
from lvslab.render.texts import Seed, render


def _role_context(lab: Lab, spec: RoleSpec) -> dict[str, Any]:
    return {
        "spec": spec,
        "files": [
            {"path": path, "permissions": f"{file.mode:04o}", "content": file.content}
            for path, file in role_files(lab, spec).items()
        ],
        "enable": units(lab, spec),
        "guarded": guarded_units(lab, spec),
    }


def role_user_data(lab: Lab, spec: RoleSpec) -> str:
    """The role's own user-data: its files and its units. No user, no secret."""
    return render("cloud-init/role-user-data.j2", _role_context(lab, spec))


def bake_seed(lab: Lab, spec: RoleSpec, user: str, public_key: str) -> Seed:
    """The seed of a bake: the role's user-data and a login that lives as long as the bake.

    `user` may log in with the key of `public_key` (one line of OpenSSH's format) and use sudo.
    """
    values = _role_context(lab, spec) | {"user": user, "public_key": public_key.strip()}
    return Seed(
        render("cloud-init/bake-user-data.j2", values),
        render("cloud-init/meta-data.j2", {"instance_id": f"bake-{spec.name}", "name": spec.name}),
        render("cloud-init/network-config.j2", {"interfaces": {"eth0": None}, "dhcp": ["eth0"]}),
    )


def node_seed(lab: Lab, node: str, texts: str = "") -> Seed:
    """The seed of a node: host name, addresses by interface name, login.

    `texts` is what the lab changes in the image of the node's role (`lab_texts`). The instance
    id follows the content, so a changed seed is applied at the next boot.
    """
    this = lab.nodes[node]
    addresses = kind_of(lab, node).addresses(lab, node)
    dhcp = [i for i, network in this.interfaces.items() if lab.networks[network].kind == "nat"]
    user_data = render(
        "cloud-init/node-user-data.j2",
        {
            "lab": lab,
            "node": node,
            "role": this.role,
            "hosts": lab.hosts,
            "texts": texts,
            "texts_sum": sha256_text(texts),
        },
    )
    network_config = render("cloud-init/network-config.j2", {"interfaces": addresses, "dhcp": dhcp})
    digest = sha256_text(user_data + network_config)[:12]
    meta_data = render(
        "cloud-init/meta-data.j2", {"instance_id": f"{lab.name}-{node}-{digest}", "name": node}
    )
    return Seed(user_data, meta_data, network_config)
