"""Secrets in what cloud-init reads: user-data and cloud.cfg.

Source: cloud-init's documentation, modules "Users and Groups" and "Set Passwords".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from lvslab.verify.rules import Unreadable, reading

_LINE = re.compile(
    r"^[\s-]*(password|passwd|plain_text_passwd|hashed_passwd)\s*:\s*[^\s#]", re.MULTILINE
)
_HASHED = ("passwd", "hashed_passwd")


def load(text: str) -> Any:
    """The value of a YAML text; raises Unreadable if it is none."""
    try:
        with reading("it"):
            return yaml.safe_load(text)
    except Unreadable as error:
        raise Unreadable(f"it is not YAML: {error}") from None


def plain_passwords(data: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each password in plain text in a cloud-config."""
    if data.get("password"):
        yield "a password is in plain text"
    for user in _users(data):
        if "plain_text_passwd" in user:
            yield f"the password of {_name(user)} is plain"
    changes = data.get("chpasswd")
    changes = changes if isinstance(changes, Mapping) else {}
    for entry in _mappings(changes.get("users")):
        secret = _text(entry.get("password"))
        if not (secret.startswith("$") or entry.get("type") in ("hash", "RANDOM")):
            yield f"the password of {_name(entry)} is plain"
    lines = changes.get("list")
    listed = lines.splitlines() if isinstance(lines, str) else lines
    for line in listed if isinstance(listed, list) else ():
        name, _, secret = _text(line).partition(":")
        if secret and not secret.startswith("$") and secret not in ("R", "RANDOM"):
            yield f"the password of {name} is plain"


def log_ins(text: str) -> Iterator[str]:
    """A sentence for each login that a file of an image brings along: no machine has its own."""
    try:
        data = load(text)
    except Unreadable:
        data = None
    if not isinstance(data, Mapping):
        if match := _LINE.search(text):
            yield f"{match[1]} is set"
        return
    yield from plain_passwords(data)
    for user in (data, *_users(data)):
        for key in _HASHED:
            if user.get(key):
                yield f"{key} of {_name(user)} is set"
        if user.get("ssh_authorized_keys"):
            yield "somebody's SSH key is authorized"
    if data.get("ssh_keys"):
        yield "host keys are set"


def _name(user: Mapping[str, Any]) -> str:
    return str(user.get("name") or "somebody without a name")


def _users(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each account that a cloud-config describes, the distribution's own too."""
    system = data.get("system_info")
    own = system.get("default_user") if isinstance(system, Mapping) else None
    yield from _mappings([data.get("user"), own])
    yield from _mappings(data.get("users"))


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """The mappings in a list; nothing of any other value."""
    entries = value if isinstance(value, list) else ()
    yield from (entry for entry in entries if isinstance(entry, Mapping))


def _text(value: object) -> str:
    """A scalar as text; empty for what is none."""
    return str(value) if isinstance(value, str | int | float) else ""
