"""The files of a role: everything under roles/<role>/files maps to / in the image.

A file whose name ends in `.j2` is rendered (and loses that ending), any other is copied
as it is; an executable stays executable. `__interface__` in a path stands for each of
the role's interfaces on the cluster's networks. roles/common/files comes first, then the
files of the role's kind in roles/common/kinds; the role's own file of the same path wins.
A file that is rendered to nothing is left out: the lab does without it. If it is a unit, the
role enables it in those labs that have it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from lvslab.core.archives import PUBLIC
from lvslab.core.places import COMMON, ROLES
from lvslab.core.same import Same
from lvslab.model.family import IPV6, alone
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import keepalived, node_facts
from lvslab.render.kinds import KINDS
from lvslab.render.kinds.shared import wired
from lvslab.render.texts import RenderedFile, files_as_json, render_text

GUARD = "ConditionPathExists=/etc/lvslab/node"
"""The line that keeps a service of the cluster from starting on a machine without a seed."""

IMAGE_TEXTS = "/usr/local/lib/lvslab/texts.json"
"""Where an image has its own rendered texts a second time, for `apply-texts`."""

_NODES_OWN = frozenset({"/etc/issue"})  # in an image for machines without a seed
_INTERFACE = "__interface__"
_UNITS = "files/etc/systemd/system"


def cluster_interfaces(lab: Lab, role: str) -> dict[str, str]:
    """Interface to network for the role's interfaces on host-only networks."""
    # `rules`: all nodes of a role have the same
    return next((wired(lab, node) for node in lab.nodes_with(role)), {})


def kernel_settings(lab: Lab, spec: RoleSpec) -> dict[str, str]:
    """sysctl.d(5) keys and values; `__interface__` in a key stands for each cluster interface."""
    found = {}
    for key, value in spec.sysctl.items():
        for interface in cluster_interfaces(lab, spec.name):
            found[key.replace(_INTERFACE, interface)] = str(value)
    found |= KINDS[spec.kind].kernel(lab)
    if lab.speaks_ipv6:
        # An address answers at once: nobody is asked first whether another machine has it.
        found |= {f"net.ipv6.conf.{i}.accept_dad": "0" for i in _speaking_ipv6(lab, spec.name)}
    return found


def _speaking_ipv6(lab: Lab, role: str) -> list[str]:
    """The role's interfaces on IPv6 networks."""
    interfaces = cluster_interfaces(lab, role).items()
    return [i for i, network in interfaces if IPV6 in lab.networks[network].families]


def seed_names(lab: Lab, spec: RoleSpec) -> str:
    """The seeds that fit the role, as a phrase: `lvs1.iso or lvs2.iso`."""
    names = [f"{name}.iso" for name in lab.nodes_with(spec.name)]
    if len(names) > 4:
        return f"one of {names[0]} ... {names[-1]}"
    return " or ".join(names)


def _context(lab: Lab, spec: RoleSpec) -> dict[str, Any]:
    values = {
        "spec": spec,
        "sysctl": kernel_settings(lab, spec),
        "modules": KINDS[spec.kind].modules(lab, spec),
        "seeds": seed_names(lab, spec),
        "checklist": node_facts.text(lab),
        "served": {service: lab.ports_wanted(service) for service in spec.services},
        "sync_interface": keepalived.sync_interface(lab),
        "sync_group": keepalived.sync_group(lab),
        "archives": PUBLIC,
        "services_here": _services_here(lab, spec),
        "tunnels": any(map(lab.tunnels_to, lab.nodes_with(spec.name))),
        "syncs_connections": keepalived.syncs_connections(lab),
        "marks": marks(lab),
        "refusals": refusals(lab),
    }
    return keepalived.context(lab) | values


def marks(lab: Lab) -> list[dict[str, Any]]:
    """What packets get which mark: the address and the ports of services that belong together."""
    return [
        {
            "mark": mark,
            "header": lab.family_of(name).header,
            "address": lab.endpoint(name)[0],
            "ports": sorted(lab.ports_of(name).values()),
        }
        for name in lab.virtual_servers
        if (mark := lab.mark_of(name))
    ]


def refusals(lab: Lab) -> list[dict[str, Any]]:
    """Which address a client asked, by port and real servers that refuse: NAT over TCP.

    A port of a real server that serves for two addresses says nothing, so it is left out.
    """
    asked = [
        (name, port, server)
        for name, this in lab.virtual_servers.items()
        if this.method == "NAT" and this.protocol == "TCP"
        for port in lab.ports_of(name).values()
        for server in lab.real_servers(name).values()
    ]
    times = Counter(one[1:] for one in asked)
    clear = [one for one in asked if times[one[1:]] == 1]
    return [
        {
            "header": lab.family_of(name).header,
            "address": lab.endpoint(name)[0],
            "port": port,
            "servers": [server for _, _, server in together],
        }
        for (name, port), together in groupby(clear, key=itemgetter(0, 1))
    ]


def units(lab: Lab, spec: RoleSpec) -> list[str]:
    """The units that the role enables in a lab: those of its own that the lab does without, not."""
    rendered, _ = _files(lab, spec)
    return _enabled(spec, rendered)


def _enabled(spec: RoleSpec, files: Collection[str]) -> list[str]:
    """`units`, by the paths of the files that the role has in a lab."""
    own = {path.name.removesuffix(".j2") for _, path in _sources(spec.folder / _UNITS)}
    there = {path.rpartition("/")[2] for path in files}
    return [unit for unit in spec.enable if unit not in own or unit in there]


def _services_here(lab: Lab, spec: RoleSpec) -> list[str]:
    """The addresses of services that the role's nodes have for themselves."""
    held = (address for node in lab.nodes_with(spec.name) for address in lab.held_by(node))
    return list(dict.fromkeys(str(alone(address)) for address in held))


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield "/" + path.relative_to(folder).as_posix(), path


def role_files(lab: Lab, spec: RoleSpec) -> dict[str, RenderedFile]:
    """The files that the role puts into its image, by absolute path, sorted."""
    rendered, copied = _files(lab, spec)
    texts = RenderedFile(_image_texts(spec, rendered))
    return dict(sorted({**rendered, **copied, IMAGE_TEXTS: texts}.items()))


def texts_of_lab(lab: Lab, spec: RoleSpec) -> dict[str, RenderedFile]:
    """Those of a role's files that may be others in another lab, by absolute path, sorted.

    The texts that each seed writes itself are not among them.
    """
    rendered, _ = _files(lab, spec)
    return _of_lab(rendered)


def image_texts(lab: Lab, spec: RoleSpec) -> str:
    """The text of IMAGE_TEXTS in an image that is baked from `lab`."""
    rendered, _ = _files(lab, spec)
    return _image_texts(spec, rendered)


def _of_lab(rendered: Files) -> dict[str, RenderedFile]:
    return {path: file for path, file in sorted(rendered.items()) if path not in _NODES_OWN}


def _image_texts(spec: RoleSpec, rendered: Files) -> str:
    texts = {
        "role": spec.name,
        "enable": _enabled(spec, rendered),
        "files": files_as_json(_of_lab(rendered)),
    }
    return json.dumps(texts, indent=1) + "\n"


Files = Mapping[str, RenderedFile]


def _files(lab: Lab, spec: RoleSpec) -> tuple[Files, Files]:
    """A role's files that are rendered, and those that are copied as they are."""
    return _files_of(Same(lab), Same(spec))


@lru_cache(maxsize=32)
def _files_of(same_lab: Same[Lab], same_spec: Same[RoleSpec]) -> tuple[Files, Files]:
    """`_files`: a build asks for them some fourteen times for each role."""
    lab, spec = same_lab.thing, same_spec.thing
    values = _context(lab, spec)
    interfaces = cluster_interfaces(lab, spec.name)
    rendered: dict[str, RenderedFile] = {}
    copied: dict[str, RenderedFile] = {}
    for folder in (ROLES / COMMON, ROLES / COMMON / "kinds" / spec.kind, spec.folder):
        for target, path in _sources(folder / "files"):
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            text = path.read_text("utf-8")
            if not target.endswith(".j2"):
                rendered.pop(target, None)
                copied[target] = RenderedFile(text, mode)
                continue
            target = target.removesuffix(".j2")
            copied.pop(target, None)
            if _INTERFACE not in target:
                rendered[target] = RenderedFile(render_text(text, values), mode)
                continue
            for interface, network in interfaces.items():
                ipv6 = IPV6 in lab.networks[network].families
                own = values | {"interface": interface, "network": network, "ipv6": ipv6}
                rendered[target.replace(_INTERFACE, interface)] = RenderedFile(
                    render_text(text, own), mode
                )
    return {path: file for path, file in rendered.items() if file.content.strip()}, copied


def guarded_units(lab: Lab, spec: RoleSpec) -> list[str]:
    """The enabled units that a file of the role keeps from starting without a seed."""
    files = role_files(lab, spec)

    def is_guarded(unit: str) -> bool:
        places = (unit, f"{unit}.d/10-lvslab.conf")
        texts = [files.get(f"/etc/systemd/system/{place}") for place in places]
        return any(text is not None and GUARD in text.content for text in texts)

    return [unit for unit in _enabled(spec, files) if is_guarded(unit)]
