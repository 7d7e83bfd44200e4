"""The texts of a lab in a seed, which the image's apply-texts puts in their places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lvslab.core.files import sha256_text
from lvslab.verify.rules import demand

_NODE, _TEXTS = "/etc/lvslab/node", "/etc/lvslab/texts.json"
_KEYS = {"lab", "image", "files", "remove", "enable", "disable"}


def look(config: Mapping[str, Any]) -> str:
    """What the texts in a seed's cloud-config are. Raises Refused if they are not whole."""
    entries = config.get("write_files")
    files = {
        str(entry.get("path")): str(entry.get("content", ""))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    }
    lines = [line.partition("=") for line in files.get(_NODE, "").splitlines()]
    named = {key: value for key, _, value in lines}.get("LVSLAB_TEXTS")
    if _TEXTS not in files:
        demand(not named, f"{_NODE} names texts, and there is no {_TEXTS}")
        return "the image's own texts"
    text = files[_TEXTS]
    demand(sha256_text(text) == named, f"{_TEXTS} has another sum than {_NODE} says")
    try:
        texts = json.loads(text)
    except ValueError:
        texts = None
    demand(isinstance(texts, dict) and texts.keys() >= _KEYS, f"{_TEXTS} is not whole")
    for path, file in texts["files"].items():
        demand(
            sha256_text(file["content"]) == file["sha256"], f"{path} in {_TEXTS} has another sum"
        )
    return f"{len(texts['files'])} texts of the lab {texts['lab']}"
