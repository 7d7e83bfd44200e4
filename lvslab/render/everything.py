"""Every rendered text by the path under which `build.py render` writes it."""

from __future__ import annotations

from collections.abc import Iterable

from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render.asserts import assert_script
from lvslab.render.handout import handout
from lvslab.render.machine_files import role_files
from lvslab.render.seeds import node_seed, role_user_data


def everything(lab: Lab, roles: Iterable[RoleSpec]) -> dict[str, str]:
    """Relative path to text: each role's files, user-data and checks, each node's seed."""
    texts = {}
    for spec in roles:
        folder = f"roles/{spec.name}"
        texts[f"{folder}/user-data"] = role_user_data(lab, spec)
        texts[f"{folder}/assert.py"] = assert_script(lab, spec)
        for path, file in role_files(lab, spec).items():
            texts[f"{folder}/root{path}"] = file.content
    for node in lab.nodes:
        seed = node_seed(lab, node)
        texts[f"seeds/{node}/user-data"] = seed.user_data
        texts[f"seeds/{node}/meta-data"] = seed.meta_data
        texts[f"seeds/{node}/network-config"] = seed.network_config
    texts |= {f"vmware/{name}": text for name, text in handout(lab).items()}
    return texts
