"""Secrets in what cloud-init reads: user-data and cloud.cfg.

Source: cloud-init's documentation, modules "Users and Groups" and "Set Passwords".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_LINE = re.compile(
    r"^[\s-]*(password|passwd|plain_text_passwd|hashed_passwd)\s*:\s*[^\s#]", re.MULTILINE
)
_HASHED = ("passwd", "hashed_passwd")


def plain_passwords(data: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each password in plain text in a cloud-config."""
    if data.get("password"):
        yield "a password is in plain text"
    for user in _users(data):
        if "plain_text_passwd" in user:
            yield f"the password of {user.get('name')} is plain"
    changes = data.get("chpasswd")
    changes = changes if isinstance(changes, Mapping) else {}
    for entry in changes.get("users") or ():
        secret = str(entry.get("password", ""))
        if not (secret.startswith("$") or entry.get("type") in ("hash", "RANDOM")):
            yield f"the password of {entry.get('name')} is plain"
    lines = changes.get("list") or ()
    for line in lines.splitlines() if isinstance(lines, str) else lines:
        name, _, secret = str(line).partition(":")
        if secret and not secret.startswith("$") and secret not in ("R", "RANDOM"):
            yield f"the password of {name} is plain"


def log_ins(text: str) -> Iterator[str]:
    """A sentence for each log-in that a file of an image brings along: no machine has its own."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = None
    if not isinstance(data, Mapping):
        if match := _LINE.search(text):
            yield f"{match[1]} is set"
        return
    yield from plain_passwords(data)
    for user in (data, *_users(data)):
        for key in _HASHED:
            if user.get(key):
                yield f"{key} of {user.get('name')} is set"
        if user.get("ssh_authorized_keys"):
            yield "somebody's SSH key is authorized"
    if data.get("ssh_keys"):
        yield "host keys are set"


def _users(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each account that a cloud-config describes, the distribution's own too."""
    system = data.get("system_info")
    users = data.get("users")
    entries = [
        data.get("user"),
        system.get("default_user") if isinstance(system, Mapping) else None,
        *(users if isinstance(users, list) else ()),
    ]
    yield from (entry for entry in entries if isinstance(entry, Mapping))
