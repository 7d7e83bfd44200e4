"""What the model refuses, said in plain sentences.

Pydantic finds the value that is wrong; what would be right is read from the model's own
JSON Schema, so a sentence cannot disagree with the model.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lvslab.core.words import decimal
from lvslab.model.family import Cidr
from lvslab.model.problems import Place, Violation, dotted, listed
from lvslab.model.schema import Schema, schema_of
from lvslab.model.shapes import SHAPES, Strict


def shape_findings(model: type[Strict], data: Any) -> list[Violation]:
    """All that is wrong with the keys, types and single values of a document.

    The document is read as JSON would be: strictly ("80" is no number), with text for
    addresses.
    """
    try:
        model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        return []
    found: dict[tuple[Place, bool], Violation] = {}
    for detail in details:
        finding = _finding(model, data, detail)
        found.setdefault((finding.path, finding.on_key), finding)
    return _without_echoes(list(found.values()))


def did_you_mean(word: object, known: Iterable[str]) -> str | None:
    """The known word that is most like a word, or None if none is."""
    if not isinstance(word, str):
        return None
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[close[0]] if close else None


def _without_echoes(findings: list[Violation]) -> list[Violation]:
    """Leaves out "X is missing" where an unknown key was probably meant to be X.

    Of a list in the place of one value it leaves out that it is no such value, if an entry of it
    is wrong.
    """
    typos = {(*f.path[:-1], f.meant) for f in findings if f.unknown and f.meant}
    inside = {f.path[:-1] for f in findings if _is_entry(f)}
    return [
        f
        for f in findings
        if not (f.what.startswith("missing") and f.path in typos) and f.path not in inside
    ]


def _is_entry(finding: Violation) -> bool:
    """Whether it is about an entry of a list."""
    return bool(finding.path) and isinstance(finding.path[-1], int)


def _finding(model: type[Strict], data: Any, detail: ErrorDetails) -> Violation:
    path, value, on_key = _locate(data, detail["loc"])
    kind = detail["type"]
    if kind == "missing":
        return _missing(model, (*path, detail["loc"][-1]))
    if kind == "extra_forbidden":
        return _unknown_key(model, path)
    if on_key:
        return _wrong_key(model, path)
    return _wrong_value(model, path, value)


def _locate(data: Any, location: tuple[int | str, ...]) -> tuple[Place, Any, bool]:
    """Path, value and whether it is about the key; names of union members are left out."""
    path: Place = ()
    for step in location:
        if step == "[key]":
            return path, data, True
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            continue  # a member of a union
        path = (*path, step)
    return path, data, False


def _missing(model: type[Strict], path: Place) -> Violation:
    above, key = path[:-1], path[-1]
    what = f"missing: {dotted(above)} has no {key}" if above else f"missing: the file has no {key}"
    return Violation(path, what, f"add `{key}:`, {expected(_schema_at(model, path))}", on_key=True)


def _unknown_key(model: type[Strict], path: Place) -> Violation:
    above, key = path[:-1], path[-1]
    known = list(_schema_at(model, above).get("properties", {}))
    meant = did_you_mean(key, known)
    question = f"did you mean {meant}? " if meant else ""
    place = f"in {dotted(above)}" if above else "at the top"
    right = f"{question}known here: {listed(known)}"
    return Violation(
        path, f"unknown key {key} {place}", right, on_key=True, unknown=True, meant=meant
    )


def _wrong_key(model: type[Strict], path: Place) -> Violation:
    pattern = next(iter(_schema_at(model, path[:-1])["patternProperties"]))
    what = f"{_shown(path[-1])} cannot be a key of {dotted(path[:-1])}"
    return Violation(path, what, f"it must be {SHAPES[pattern]}", on_key=True)


def _wrong_value(model: type[Strict], path: Place, value: Any) -> Violation:
    schema = _schema_at(model, path)
    right = f"it must be {expected(schema)}"
    meant = did_you_mean(value, _choices(schema))
    if meant:
        right += f"; did you mean {meant}?"
    elif _is_number(value) and any(
        s.get("type") in ("integer", "number") for s in _members(schema)
    ):
        right += ", without quotes"
    elif network := _network_of(schema, value):
        meant = str(network)
        right = f"write {network}, the network's own address"
    name = dotted(path) or "the file"
    return Violation(path, f"{name} is {_shown(value)}", right, meant=meant)


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.replace(".", "", 1).isdecimal() and value[0] != "0"


def _network_of(schema: Schema, value: Any) -> Cidr | None:
    """The network that an address with a prefix is in, where a network was asked for."""
    wanted = any(s.get("format") == "ipv4network" for s in _members(schema))
    if not wanted or not isinstance(value, str) or "/" not in value:
        return None
    try:
        return ip_network(value, strict=False)
    except ValueError:
        return None


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f'{text[:57]}…"'


def expected(schema: Schema) -> str:
    """What a schema asks for, in words that follow "it must be"."""
    members = _members(schema)
    if choices := _choices(schema):
        return f"one of {listed(choices)}" if len(choices) > 1 else choices[0]
    *others, last = members
    if others and last.get("type") == "array" and _members(last["items"]) == others:
        return " or ".join(map(_expected_one, others)) + ", or a list ([a, b]) of both"
    return " or ".join(_expected_one(member) for member in members)


def _expected_one(schema: Schema) -> str:
    kind = schema.get("type")
    if schema.get("pattern") in SHAPES:
        return SHAPES[schema["pattern"]]
    if kind in ("integer", "number"):
        return _expected_number(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return f"a list ([a, b]); each entry is {expected(schema['items'])}"
    if kind == "object" and "properties" in schema:
        return f"a mapping with the keys {listed(schema['properties'])}"
    if kind == "object":
        return (
            f"a mapping ({{a: b}}); each key is {SHAPES[next(iter(schema['patternProperties']))]}"
        )
    examples = {
        "ipv4": "an IPv4 address such as 192.168.50.1",
        "ipv4network": "an IPv4 network such as 192.168.50.0/24",
        "ipv6": "an IPv6 address such as fd00:50::1",
        "ipv6network": "an IPv6 network such as fd00:50::/64",
    }
    return examples.get(schema.get("format", ""), "a text")


def _expected_number(schema: Schema) -> str:
    noun = "a whole number" if schema["type"] == "integer" else "a number"
    if "multipleOf" in schema:
        noun += f" divisible by {decimal(schema['multipleOf'])}"
    if "minimum" in schema:
        return f"{noun} from {decimal(schema['minimum'])} to {decimal(schema['maximum'])}"
    return noun


def _members(schema: Schema) -> list[Schema]:
    """The members of a union without null, or the schema itself."""
    return [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]


def _choices(schema: Schema) -> list[str]:
    """The values of an enumeration; none if the schema is something else."""
    found = []
    for member in _members(schema):
        found += [str(value) for value in member.get("enum", [])]
        found += [str(member["const"])] if "const" in member else []
    return found


def _schema_at(model: type[Strict], path: Place) -> Schema:
    """The schema of what is at a path, with every reference on the way followed."""
    whole = schema_of(model)
    current = _followed(whole, whole)
    for step in path:
        current = _holder(current, step)
        if "properties" in current:
            inner = current["properties"][step]
        elif "patternProperties" in current:
            inner = next(iter(current["patternProperties"].values()))
        else:
            inner = current["items"]
        current = _followed(whole, inner)
    return current


def _holder(schema: Schema, step: int | str) -> Schema:
    """The member of a union that has something at a step; it may also be left out."""
    wanted = {"items"} if isinstance(step, int) else {"properties", "patternProperties"}
    return next((s for s in _members(schema) if wanted & s.keys()), _members(schema)[0])


def _followed(whole: Schema, schema: Schema) -> Schema:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**whole["$defs"][name], **rest}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_followed(whole, member) for member in schema["anyOf"]]}
    return schema
