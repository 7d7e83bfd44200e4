"""The token that the buttons of a page want: made for one run, shown on the terminal only."""

from __future__ import annotations

import hmac
import secrets

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another one
_GROUPS, _LENGTH = 3, 4


def new() -> str:
    """A new token, short enough to be typed: twelve letters in groups, 59 bits."""
    return "-".join(
        "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(_GROUPS)
    )


def matches(token: str, given: str) -> bool:
    """Whether somebody has the token; how long the answer takes does not say how much was right."""
    return hmac.compare_digest(token.encode(), given.strip().lower().encode())
