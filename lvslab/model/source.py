"""YAML read with positions: every value and key knows its line and column.

Scalars are read by YAML 1.2's core schema, so what YAML 1.1 made of `no`, `010` or `1:30`
(false, 8 and 90) does not happen: those are text. Of the rest of YAML the files need little:
tags, merge keys and several documents are refused, anchors and aliases work.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from lvslab.model.problems import BadInput, Place, Problem

_MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_REMEDIES = {
    r"found character '\t' that cannot start any token": "indent with spaces, not with tabs",
    "mapping values are not allowed here": (
        "put a key at the beginning of its line, and quote a value that contains a colon "
        "and a space"
    ),
    "could not find expected ':'": "put a colon and a space after a key",
    "expected <block end>, but found '<block mapping start>'": (
        "keys of one mapping begin in the same column"
    ),
    "expected <block end>, but found '-'": "entries of one list begin in the same column",
    "expected ',' or '}'": "close the brace, or put a comma between the entries",
    "expected ',' or ']'": "close the bracket, or put a comma between the entries",
    "found unexpected end of stream": "close the quote",
    "found undefined alias": "an alias (*name) needs an anchor (&name) before it",
    "but found another document": "remove the line `---`",
    "but found '<scalar>'": "a quote further up may not be closed",
}


@dataclass(frozen=True)
class YamlText:
    """A YAML file's data (dict, list, str, int, float, bool, None) and where it is.

    `lost` is where something is in the file that is not in the data, because of a problem.
    """

    file: str
    data: Any
    values: dict[Place, tuple[int, int]]
    keys: dict[Place, tuple[int, int]]
    problems: tuple[Problem, ...]
    lost: tuple[Place, ...]

    def position(self, path: Place, *, on_key: bool = False) -> tuple[int, int]:
        """Line and column of a value or of its key; of the nearest key above if it has none."""
        if not on_key and path in self.values:
            return self.values[path]
        while path:
            if path in self.keys:
                return self.keys[path]
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return (1, 1)


def read_source(path: Path) -> YamlText:
    """Reads a YAML file.

    Problems that leave the rest readable (a key twice, a tag) are in the result; raises
    BadInput if nothing can be read at all.
    """
    file = shown(path)
    text = _text(path, file)
    try:
        node = _composed(text)
    except yaml.MarkedYAMLError as error:
        raise BadInput([_syntax_problem(file, error)]) from None
    except yaml.reader.ReaderError as error:
        line, column = _place(text, int(error.position))
        character = text[int(error.position)]
        what = f"the character U+{ord(character):04X} must not be in a YAML file"
        raise BadInput([Problem(file, line, column, what, "remove it")]) from None
    except RecursionError:
        raise BadInput([Problem(file, 1, 1, "nested too deeply", "remove the brackets")]) from None
    if node is None:
        raise BadInput(
            [Problem(file, 1, 1, "the file is empty", "copy one from the README or docs")]
        )
    reader = _Reader(file)
    data = reader.value(node, ())
    return YamlText(
        file, data, reader.values, reader.keys, tuple(reader.problems), tuple(reader.lost)
    )


@lru_cache(maxsize=32)
def _composed(text: str) -> yaml.Node | None:
    """The nodes of a text. A run reads each role several times, and this is most of the work.

    libyaml finds them ten times as fast as PyYAML does. It takes tabs that PyYAML refuses, and has
    other words for what is wrong, so a text with either is PyYAML's.
    """
    if "\t" not in text:
        with suppress(yaml.YAMLError):
            return _Composer(text).get_single_node()
    return yaml.compose(text, Loader=yaml.BaseLoader)


class _Composer(Composer, yaml.CBaseLoader):
    """Composes in Python what libyaml parses: in C a text nested very deeply ends the process."""

    def __init__(self, text: str) -> None:
        yaml.CBaseLoader.__init__(self, text)
        Composer.__init__(self)


def shown(path: Path) -> str:
    """A path as messages show it: relative to the working directory if it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _text(path: Path, file: str) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise BadInput([Problem(file, 0, 0, what, "make it, or give another path")]) from None
    if len(raw) > _MAX_BYTES:
        raise BadInput([Problem(file, 0, 0, "larger than 1 MiB", "give the path of another file")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(raw[: error.start].decode("utf-8-sig"), error.start)
        what = f"the byte 0x{raw[error.start]:02X} is not UTF-8"
        raise BadInput([Problem(file, line, column, what, "save the file as UTF-8")]) from None


def _place(text: str, position: int) -> tuple[int, int]:
    """Line and column of a character of a text."""
    before = text[:position]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _syntax_problem(file: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = error.problem or "cannot be read"
    if said.startswith("but "):
        said = f"{error.context} {said}"
    right = next((right for words, right in _REMEDIES.items() if words in said), "")
    if not right:
        right = "compare the line with its neighbours"
    return Problem(file, line, column, f"not YAML: {said}", right)


def _plain(text: str) -> Any:
    """The value of an unquoted scalar by YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) and not text.strip("+-").isdigit() else text
    return text


@dataclass
class _Reader:
    """Turns composed nodes into data and notes where each value and key is."""

    file: str
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lost: list[Place] = field(default_factory=list)
    full: bool = False

    def value(self, node: yaml.Node, path: Place) -> Any:
        """The data of a node that is at `path`."""
        self.values[path] = self._mark(node)
        if len(path) > _MAX_DEPTH or len(self.values) > _MAX_VALUES:
            self._too_much(node, path)
            return None
        if node.tag not in _PLAIN_TAGS:
            what = f"the tag {_tag(node.tag)} is not known"
            self._wrong(node, path, what, "write the plain value")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: Place) -> Any:
        text: str = node.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            what = "an escape here is half a character"
            self._wrong(node, path, what, "write the character itself")
            return ""
        return text if node.style else _plain(text)

    def _mapping(self, node: yaml.MappingNode, path: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, (*path, ""), "a key must be a word", "write `key: value`")
            elif key.value == "<<" and not key.style:
                what = "merge keys (<<) are not supported"
                self._wrong(key, (*path, "<<"), what, "write the keys out")
            elif key.value in found:
                first = self.keys[(*path, key.value)][0]
                what = f"{key.value} appears here twice, first in line {first}"
                right = "keep one of them, or give this one its own name"
                self._wrong(key, (*path, key.value), what, right)
            else:
                self.keys[(*path, key.value)] = self._mark(key)
                found[key.value] = self.value(value, (*path, key.value))
        return found

    def _too_much(self, node: yaml.Node, path: Place) -> None:
        if not self.full:
            self.full = True
            what = "aliases or nesting make this file endless"
            self._wrong(node, path, what, "write the values out")

    def _wrong(self, node: yaml.Node, path: Place, what: str, right: str) -> None:
        self.lost.append(path)
        self.problems.append(Problem(self.file, *self._mark(node), what, right))

    @staticmethod
    def _mark(node: yaml.Node) -> tuple[int, int]:
        return node.start_mark.line + 1, node.start_mark.column + 1


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
