"""SHA256SUMS of a folder of artifacts, as sha256sum(1) reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lvslab.core.errors import CheckFailed

NAME = "SHA256SUMS"
_NO_ARTIFACTS = ("log", "render")  # what runs say, and texts to read


def artifacts(folder: Path) -> list[Path]:
    """The files in `folder` that have a sum: all but sums, signature, logs, texts, hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(NAME)
        and path.relative_to(folder).parts[0] not in _NO_ARTIFACTS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def text(digests: Mapping[str, str]) -> str:
    """The lines of sha256sum(1) for sums by file name, sorted by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def read(folder: Path) -> dict[str, str]:
    """What SHA256SUMS says: path relative to `folder` to hex digest.

    Raises CheckFailed if it is not there or is not such a file.
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckFailed("there is no SHA256SUMS", where=str(folder), hint="build the images")
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not name:
            raise CheckFailed("not a line of sha256sum", where=f"{path}:{number}")
        found[name] = digest
    return found
