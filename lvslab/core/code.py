"""The code that shapes a result: a module and what it imports, all the way down.

A stage names the module that does its work; what else its result depends on follows from the
imports, with the versions of the libraries among them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

NO_SAY = {
    "lvslab.core": "files, programs, errors, the cache: no byte of a result is decided there",
    "lvslab.model": "values, which are inputs",
    "lvslab.render": "texts, which are inputs",
    "lvslab.build.lockfile": "packages, which are inputs by their sums",
    "lvslab.build.mirror": "where a package comes from; its sum decides",
    "lvslab.build.accel": "how fast a bake is",
}
"""Modules and packages that are not followed, and why; one of them counts if it is named itself."""

LIBRARIES = {
    "cyclonedx": "cyclonedx-python-lib",
    "deflate": "deflate",
    "dissect": "dissect.extfs",
    "packageurl": "packageurl-python",
    "pycdlib": "pycdlib",
}
"""The libraries that shape results: the package that is imported, and its distribution."""

_TOP = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(
    r"""
    ^[ \t]* (?:
        from [ \t]+ (?P<base>[\w.]+) [ \t]+ import [ \t]+
            (?: \( (?P<many>[^)]*) \) | (?P<few>[^\n\#(]+) )
        | import [ \t]+ (?P<whole>[^\n\#]+)
    )
    """,
    re.MULTILINE | re.VERBOSE,
)


@cache
def _text(path: Path) -> str:
    return path.read_text()


@cache
def imported(path: Path) -> tuple[str, ...]:
    """What a file imports, by full names, as `lvslab.core.files.atomic`."""
    found = []
    for match in _IMPORT.finditer(_text(path)):
        names = match["whole"] or match["many"] or match["few"]
        start = f"{match['base']}." if match["base"] else ""
        found += [f"{start}{name.split()[0]}" for name in names.split(",") if name.strip()]
    return tuple(found)


@cache
def file_of(module: str) -> Path | None:
    """The file of a module or package of ours, which is not imported for that."""
    path = _TOP.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def module_of(name: str) -> str:
    """The module of ours that an imported name is, or is in."""
    while file_of(name) is None:
        name = name.rpartition(".")[0]
    return name


def reached(names: Iterable[str]) -> list[str]:
    """The modules of ours that the modules `names` use, with themselves, sorted."""
    named = set(names)
    open_, found = [*named], set[str]()
    while open_:
        module = open_.pop()
        if module in found or (has_no_say(module) and module not in named):
            continue
        found.add(module)
        path = file_of(module)
        assert path is not None, module
        for name in imported(path):
            if name.startswith("lvslab."):
                open_.append(module_of(name))
    return sorted(found)


def has_no_say(module: str) -> bool:
    """Whether a module decides no byte of a result (NO_SAY)."""
    return any(module == name or module.startswith(f"{name}.") for name in NO_SAY)


def libraries(modules: Iterable[str]) -> dict[str, str]:
    """The distributions among LIBRARIES that modules import, with their versions."""
    from importlib import metadata  # loads the package email: most verbs do without

    tops = {
        name.partition(".")[0]
        for module in modules
        if (path := file_of(module)) is not None
        for name in imported(path)
    }
    return {
        distribution: metadata.version(distribution)
        for package, distribution in sorted(LIBRARIES.items())
        if package in tops
    }


def source_digest(modules: Iterable[str]) -> str:
    """The sha256 of the source text of modules: changed code makes a changed result."""
    total = hashlib.sha256()
    for module in modules:
        path = file_of(module)
        assert path is not None, module
        total.update(_text(path).encode())
    return total.hexdigest()
