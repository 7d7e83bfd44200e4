"""keepalived.conf(5) and systemd.syntax(7), read as far as the simulation needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Block:
    """A block of keepalived.conf: its words, and what is inside."""

    words: list[str]
    inside: list[Block] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Block]:
        return (block for block in self.inside if block.words[0] == name)

    def value(self, name: str, default: str = "") -> str:
        found = [block.words[1] for block in self.all(name)]
        return found[-1] if found else default

    def has(self, name: str) -> bool:
        return any(True for _ in self.all(name))

    def names(self, name: str) -> list[str]:
        """The first words inside the one block of a name."""
        return [line.words[0] for block in self.all(name) for line in block.inside]


def keepalived(text: str, host: str) -> Block:
    """The file as the host of that name reads it: `@other` lines are not its own."""
    top = Block(["top"])
    stack = [top]
    for raw in text.splitlines():
        words = re.sub(r"[#!].*", "", raw).replace('"', "").split()
        if words and words[0].startswith("@"):
            if words[0] != f"@{host}":
                continue
            words = words[1:]
        if not words:
            continue
        if words == ["}"]:
            stack.pop()
            continue
        opens = words[-1] == "{"
        block = Block(words[:-1] if opens else words)
        stack[-1].inside.append(block)
        if opens:
            stack.append(block)
    assert stack == [top], "a block of keepalived.conf is not closed"
    return top


def sections(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The sections of a file of systemd in order: the name and the last value of each key."""
    name, values = "", dict[str, str]()
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            if name:
                yield name, values
            name, values = line.strip("[]"), {}
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            values[key.strip()] = value.strip()
    if name:
        yield name, values
