"""An OVF descriptor as XML, in whatever encoding it declares (DMTF DSP0243 section 5.1)."""

from __future__ import annotations

from xml.etree import ElementTree

from lvslab.check.verify.rules import Unreadable
from lvslab.export.ova import OVF_NAMESPACE


class _Builder(ElementTree.TreeBuilder):
    """A tree without a DOCTYPE, and so without entities that grow."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Called for a DOCTYPE; raises Unreadable."""
        raise Unreadable("the OVF has a DOCTYPE, which no importer reads")


def parse(data: bytes) -> ElementTree.Element:
    """The Envelope in the bytes of an OVF; raises Unreadable if there is none of OVF 1.x."""
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise Unreadable(f"the OVF is not well-formed: {error}") from None
    if root.tag != f"{{{OVF_NAMESPACE}}}Envelope":
        raise Unreadable(f"the OVF is no Envelope of OVF 1.x but {root.tag}")
    return root


def hrefs(root: ElementTree.Element) -> list[str]:
    """The names in the References of an Envelope, in order ("" for a File without one)."""
    return [
        file.get(f"{{{OVF_NAMESPACE}}}href", "") for file in root.iter(f"{{{OVF_NAMESPACE}}}File")
    ]
