"""Who logs in, and with which secret: from the environment, a keyring, or a question.

Never from a file of the project or an argument: those are copied, shown and logged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lvslab.core.errors import InputError

USER = "LVSLAB_DEPLOY_USER"
SECRET = "LVSLAB_DEPLOY_PASSWORD"

Ask = Callable[[str, bool], str]
"""Asks a person; the second argument says whether the answer must stay unseen."""


@dataclass(frozen=True)
class Credentials:
    """A user and the secret, which no text of this object shows."""

    user: str
    secret: str = field(repr=False)


def service(server: str) -> str:
    """Under which name a keyring has the secret for a server."""
    return f"lvslab {server}"


def find(
    server: str, user: str | None, environment: Mapping[str, str], ask: Ask | None
) -> Credentials:
    """The credentials for a server; `user` is the site file's.

    `ask` is None if nobody can be asked. Raises InputError that says where they may be.
    """
    name = environment.get(USER) or user or _asked(ask, f"user for {server}", False, USER)
    secret = environment.get(SECRET) or _from_keyring(server, name)
    return Credentials(
        name, secret or _asked(ask, f"password of {name} for {server}", True, SECRET)
    )


def _from_keyring(server: str, user: str) -> str | None:
    """What the package `keyring` has, if it is installed and has a keyring that can be opened."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(service(server), user)
    except Exception:  # each backend has its own errors; a locked keyring is as good as none
        return None
    return str(found) if found else None


def _asked(ask: Ask | None, question: str, hidden: bool, variable: str) -> str:
    if ask is None:
        raise InputError(
            f"there is no {question}",
            hint=f"set {variable}, or put it into a keyring (package keyring), or use a terminal",
        )
    return ask(question, hidden)
