"""What every part of the model stands on: strict classes, and texts of a certain shape."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

SHAPES: dict[str, str] = {}
"""Pattern to the words that say what it asks for; error messages use them."""


def shaped(pattern: str, words: str) -> Any:
    """A text's pattern, and the words for it in error messages and in the JSON Schema."""
    SHAPES[pattern] = words
    return Field(pattern=pattern, description=words)


Name = Annotated[
    str,
    shaped(
        r"^[A-Za-z][A-Za-z0-9_-]{0,30}$",
        "a name of at most 31 letters, digits, _ and -, a letter first",
    ),
]
HostName = Annotated[
    str,
    shaped(
        r"^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$",
        "a host name of at most 31 small letters, digits and -, a letter first and no - at the end",
    ),
]
NetworkName = Annotated[
    str,
    shaped(
        r"^VMnet([1-9]|1[0-9])$",
        "one of VMware's networks, VMnet1 to VMnet19 (VMnet0 is bridged to the real network)",
    ),
]
InterfaceName = Annotated[
    str, shaped(r"^eth[0-9]$", "eth0 to eth9 (VMware gives a machine at most ten)")
]
Port = Annotated[int, Field(ge=1, le=65535, description="TCP port")]


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
