"""What a lab changes in an image: the texts that differ from those of the reference lab.

An image is baked from the reference lab. Its rendered texts are in it a second time, as one JSON
text (`machine_files.IMAGE_TEXTS`): so a node can put back what an earlier seed has changed. The
seed of a node of another lab brings the texts that differ; `apply-texts` of the image puts them in
their places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lvslab.core.files import sha256_text
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render.machine_files import image_texts, texts_of_lab, units
from lvslab.render.texts import RenderedFile, files_as_json


@dataclass(frozen=True)
class NodeTexts:
    """The files of a node by path (those that may differ between labs), and its enabled units."""

    files: Mapping[str, RenderedFile]
    units: tuple[str, ...]


def texts_of_node(lab: Lab, spec: RoleSpec) -> NodeTexts:
    """The texts that a node of a role has in a lab."""
    return NodeTexts(texts_of_lab(lab, spec), tuple(units(lab, spec)))


def difference(own: NodeTexts, wanted: NodeTexts) -> dict[str, Any]:
    """What makes `own` what is `wanted`.

    `files` has the texts that are new or others, `remove` the paths that are not wanted, `enable`
    and `disable` the units.
    """
    changed = {path: f for path, f in wanted.files.items() if own.files.get(path) != f}
    return {
        "files": files_as_json(changed),
        "remove": sorted(own.files.keys() - wanted.files.keys()),
        "enable": [unit for unit in wanted.units if unit not in own.units],
        "disable": [unit for unit in own.units if unit not in wanted.units],
    }


def lab_texts(reference: Lab, lab: Lab, spec: RoleSpec) -> str:
    """The JSON text that makes an image of the reference lab one of `lab`; empty if it is one."""
    return seed_texts(reference, lab.name, spec, texts_of_node(lab, spec))


def seed_texts(reference: Lab, name: str, spec: RoleSpec, wanted: NodeTexts) -> str:
    """The JSON text that gives an image of the reference lab other texts; empty if it has them.

    `name` is what the texts are of: a lab. `image` in it is the sum of the image's own texts.
    """
    changes = difference(texts_of_node(reference, spec), wanted)
    if not any(changes.values()):
        return ""
    image = sha256_text(image_texts(reference, spec))
    return json.dumps({"lab": name, "image": image, **changes}, indent=1) + "\n"
