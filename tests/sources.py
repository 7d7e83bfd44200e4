"""Programs by their language: those of the repository, and those that rendering makes of it.

What ships must be checked in the form in which it ships: a template only once it is rendered, a
program without an ending by its first line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from lvslab import render
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {".git", ".venv", "artifacts", "node_modules", "__pycache__", "ovf-schema"}
CACHES = {".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}

_ENDINGS = {
    **{".py": "python", ".pyi": "python"},
    **{".sh": "shell", ".bash": "shell"},
    **{".ps1": "powershell", ".psm1": "powershell"},
}
_INTERPRETER = re.compile(
    r"#! *(?:/\S*/)?(?:env +(?:-S +)?)?(?:/\S*/)?(python|sh|bash|dash)[\d.]*\b"
)


def language(name: str, text: str) -> str:
    """`python`, `shell`, `powershell` or "": by the ending, else by the first line.

    A template is in the language of what it becomes.
    """
    path = PurePath(name.removesuffix(".j2"))
    if path.suffix in _ENDINGS:
        return _ENDINGS[path.suffix]
    found = _INTERPRETER.match(text)
    if found is None:
        return ""
    return "python" if found[1] == "python" else "shell"


def our_files(top: Path = ROOT) -> Iterator[Path]:
    """All files below `top`, without caches and what others wrote."""
    for folder, folders, names in os.walk(top):
        folders[:] = [f for f in folders if f not in NOT_OURS | CACHES and ".egg-info" not in f]
        yield from (Path(folder) / name for name in names if name not in NOT_OURS)


def written_in(wanted: str, top: Path = ROOT) -> set[Path]:
    """The files below `top` in a language; no golden texts, which are rendered."""
    return {
        path
        for path in our_files(top)
        if top / "tests/golden" not in path.parents and path.is_file()
        if language(path.name, path.read_bytes().decode(errors="replace")) == wanted
    }


def rendered(labs: Iterable[Lab], specs: Iterable[RoleSpec]) -> dict[str, str]:
    """Every text of these labs by its path below the lab's number."""
    roles = list(specs)
    return {
        f"{number}/{path}": text
        for number, lab in enumerate(labs)
        for path, text in render.everything(lab, roles).items()
    }


def never_rendered(templates: Iterable[Path], texts: Iterable[str]) -> list[Path]:
    """The templates of which none of the texts, given by their paths, is made."""
    names = {PurePath(path).name for path in texts}
    return [path for path in templates if path.name.removesuffix(".j2") not in names]


def to_check(wanted: str, texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Files of a language, each content once: those of the repository, and the texts.

    A text that no file of the repository holds is written below `folder`.
    """
    files = {path.read_text(): path for path in sorted(written_in(wanted)) if path.suffix != ".j2"}
    for name, text in texts.items():
        if language(name, text) == wanted and text not in files:
            path = folder / name.replace("/", "_").replace("-", "_")
            path.write_text(text)
            files[text] = path
    return sorted(files.values())


def powershell_errors(text: str) -> list[str]:
    """What a real parser of PowerShell's grammar does not understand."""

    def errors(node: Node) -> list[str]:
        own = [f"{node.start_point}: {node.text!r}"] if node.is_error or node.is_missing else []
        return own + [error for child in node.children for error in errors(child)]

    parser = Parser(Language(tree_sitter_powershell.language()))
    return errors(parser.parse(text.encode()).root_node)
