"""An OVF descriptor as XML, in whatever encoding it declares (DMTF DSP0243 section 5.1).

OVF 2 has other namespaces and other names for two kinds of devices (DSP0243 2.1, section 8);
it is read as if it were OVF 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from lvslab.core.text import number
from lvslab.formats.ova import OVF_NAMESPACE
from lvslab.verify.ova.xsd import CIM, RASD, VSSD
from lvslab.verify.rules import Unreadable

OVF_2 = "http://schemas.dmtf.org/ovf/envelope/2"
_MAX_DEPTH = 100
_DEVICES = {f"{{{OVF_2}}}{name}": "Item" for name in ("StorageItem", "EthernetPortItem")}
_CLASSES = {
    f"{CIM}CIM_{name}{ending}": RASD
    for name in ("ResourceAllocation", "StorageAllocation", "EthernetPortAllocation")
    for ending in ("SettingData", "SettingData.xsd")
} | {f"{VSSD}.xsd": VSSD}


@dataclass(frozen=True)
class Parsed:
    """An Envelope in the namespaces of OVF 1, and the generation that it was written in."""

    root: ElementTree.Element
    generation: int


@dataclass(frozen=True)
class FileRef:
    """A File of the References; sizes in bytes, None if it says none."""

    href: str
    size: int | None
    chunk: int | None

    @property
    def names(self) -> list[str]:
        """The names of its parts, one if it is whole (DSP0243 7.1: nine digits from 0 on)."""
        if not self.chunk or self.size is None:
            return [self.href]
        count = min(max(1, -(-self.size // self.chunk)), 10_000)
        return [f"{self.href}.{index:09d}" for index in range(count)]


class _Builder(ElementTree.TreeBuilder):
    """A tree without a DOCTYPE, and so without entities that grow, and of a sane depth."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Called for a DOCTYPE; raises Unreadable."""
        raise Unreadable("the OVF has a DOCTYPE, which no importer reads")

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        """Called for the begin of an element; raises Unreadable."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unreadable(f"the OVF has elements in each other {_MAX_DEPTH} times")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        """Called for the end of an element."""
        self._depth -= 1
        return super().end(tag)


def parse(data: bytes) -> Parsed:
    """The Envelope in the bytes of an OVF; raises Unreadable if there is none of OVF 1 or 2."""
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise Unreadable(f"the OVF is not well-formed: {error}") from None
    if root.tag == f"{{{OVF_2}}}Envelope":
        for element in root.iter():
            element.tag = _renamed(element.tag)
            attributes = {_renamed(key): value for key, value in element.attrib.items()}
            element.attrib.clear()
            element.attrib.update(attributes)
        return Parsed(root, 2)
    if root.tag != f"{{{OVF_NAMESPACE}}}Envelope":
        raise Unreadable(f"the OVF is not an Envelope of OVF 1 or 2 but {root.tag}")
    return Parsed(root, 1)


def files(root: ElementTree.Element) -> list[FileRef]:
    """The References of an Envelope, in order (an empty name for a File without one)."""
    return [_file(element.attrib) for element in root.iter(f"{{{OVF_NAMESPACE}}}File")]


def _file(attributes: Mapping[str, str]) -> FileRef:
    href, size, chunk = (
        attributes.get(f"{{{OVF_NAMESPACE}}}{name}", "") for name in ("href", "size", "chunkSize")
    )
    return FileRef(href, number(size), number(chunk))


def _renamed(name: str) -> str:
    """A name of OVF 2 as OVF 1 has it."""
    if name in _DEVICES:
        return f"{{{OVF_NAMESPACE}}}{_DEVICES[name]}"
    space, brace, local = name[1:].rpartition("}")
    if not brace:
        return name
    if space == OVF_2:
        return f"{{{OVF_NAMESPACE}}}{local}"
    return f"{{{_CLASSES.get(space, space)}}}{local}"
