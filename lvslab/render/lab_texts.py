"""What a lab changes in an image: the texts that differ from those of the reference lab.

An image is baked from the reference lab. Its rendered texts are in it a second time, as one JSON
text (`machine_files.IMAGE_TEXTS`): so a node can put back what an earlier seed has changed. The
seed of a node of another lab brings the texts that differ; `apply-texts` of the image puts them in
their places.
"""

from __future__ import annotations

import json
from typing import Any

from lvslab.core.files import sha256_text
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render.machine_files import image_texts, texts_of_lab, units
from lvslab.render.texts import files_as_json


def lab_texts(reference: Lab, lab: Lab, spec: RoleSpec) -> str:
    """The JSON text that makes an image of the reference lab one of `lab`; empty if it is one.

    `image` is the sum of the image's own texts that this is a difference to; `files` has the
    texts that are new or others, `remove` the paths that `lab` does without, `enable` and
    `disable` the units.
    """
    own, wanted = texts_of_lab(reference, spec), texts_of_lab(lab, spec)
    own_units, wanted_units = units(reference, spec), units(lab, spec)
    changes: dict[str, Any] = {
        "files": files_as_json({path: f for path, f in wanted.items() if own.get(path) != f}),
        "remove": sorted(own.keys() - wanted.keys()),
        "enable": [unit for unit in wanted_units if unit not in own_units],
        "disable": [unit for unit in own_units if unit not in wanted_units],
    }
    if not any(changes.values()):
        return ""
    image = sha256_text(image_texts(reference, spec))
    return json.dumps({"lab": lab.name, "image": image, **changes}, indent=1) + "\n"
