"""Reference pages (Markdown) from what is there already: the JSON Schemas and the verbs' help."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Parts = Mapping[str, Schema]
_FORMATS = {
    "ipv4": "IPv4 address",
    "ipv6": "IPv6 address",
    "ipv4network": "IPv4 network",
    "ipv6network": "IPv6 network",
}


def schema_page(title: str, schema: Schema) -> str:
    """A page with one section for the file itself and one for each part that it names."""
    parts = schema.get("$defs", {})
    lines = [f"# {title}", "", schema.get("description", ""), "", *_table(schema, parts)]
    for name, part in sorted(parts.items()):
        if "properties" in part:
            lines += ["", f"## {name}", "", part.get("description", ""), "", *_table(part, parts)]
    return "\n".join(lines) + "\n"


def _table(schema: Schema, parts: Parts) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key, this in schema["properties"].items():
        default = "required" if key in required else _default(this)
        says = this.get("description", "").replace("|", "\\|")
        yield f"| `{key}` | {_kind(this, parts)} | {default} | {says} |"


def _default(this: Schema) -> str:
    """The default, unless it is that of a section that has its own table."""
    value = this.get("default")
    if value is None or isinstance(value, dict) or value in ("", [], ()):
        return ""
    return f"`{json.dumps(value)}`"


def _kind(this: Schema, parts: Parts) -> str:
    """What a value is, in words; a part that has a section of its own is a link to it."""
    if "$ref" in this:
        name = this["$ref"].rpartition("/")[2]
        part = parts[name]
        return f"[{name}](#{name.lower()})" if "properties" in part else _kind(part, parts)
    if "enum" in this:
        return ", ".join(f"`{value}`" for value in this["enum"])
    if "const" in this:
        return f"`{this['const']}`"
    if "anyOf" in this:
        kinds = [_kind(one, parts) for one in this["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "patternProperties" in this:
        (inside,) = this["patternProperties"].values()
        return f"by name: {_kind(inside, parts)}"
    if this.get("type") == "array":
        return f"list of {_kind(this['items'], parts)}" if "items" in this else "list"
    if isinstance(this.get("additionalProperties"), dict):
        return f"by name: {_kind(this['additionalProperties'], parts)}"
    return _simple(this)


def _simple(this: Schema) -> str:
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "yes or no",
    }
    kind = words.get(str(this.get("type")), str(this.get("type", "value")))
    least, most = this.get("minimum"), this.get("maximum")
    if least is not None and most is not None:
        return f"{kind}, {least} to {most}"
    form = str(this.get("format", kind))
    return _FORMATS.get(form, form)


def help_page(verbs: Mapping[str, str]) -> str:
    """A page with the help of each verb, as it is printed."""
    parts = ["# Every verb, with its help", ""]
    for name, text in verbs.items():
        parts += [f"## {name}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(parts)
