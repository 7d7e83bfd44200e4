"""What DMTF's schema of OVF 1.x asks for (DSP8023 1.1.1, DSP0243 1.1), as a table.

Further attributes are free, and so are elements of other namespaces where the schema has a
place for them (and as sections, which DSP0243 allows). The order of sections, of devices and
of their children is checked by rules of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from lvslab.formats.ova import OVF_NAMESPACE

CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
RASD = f"{CIM}CIM_ResourceAllocationSettingData"
VSSD = f"{CIM}CIM_VirtualSystemSettingData"

_USHORT, _ULONG, _LONG = range(1 << 16), range(1 << 64), range(-(1 << 63), 1 << 63)
_BOOLEAN = ("true", "false", "1", "0")
Values = range | tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """An element: its children with how often they may be there, its attributes.

    How often: `1` once, `?` at most once, `+` at least once, `*` any number. `values` says
    what the text of children, and `typed` what attributes, can be. `namespace` is that of the
    children which the table knows; those of others may follow them if it is `open`.
    """

    children: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    typed: Mapping[str, Values] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    namespace: str = OVF_NAMESPACE
    open: bool = True


def _often(names: str, how: str = "?") -> dict[str, str]:
    return dict.fromkeys(names.split(), how)


def _section(
    children: Mapping[str, str],
    attributes: tuple[str, ...] = (),
    typed: Mapping[str, Values] | None = None,
) -> Shape:
    required: dict[str, Values] = {"required": _BOOLEAN}
    return Shape({"Info": "1", **children}, attributes, required | dict(typed or {}))


_SECTIONS = {
    "AnnotationSection": _section({"Annotation": "1"}),
    "DeploymentOptionSection": _section({"Configuration": "+"}),
    "DiskSection": _section({"Disk": "*"}),
    "EulaSection": _section({"License": "1"}),
    "InstallSection": _section({}, ("initialBootStopDelay",), {"initialBootStopDelay": _USHORT}),
    "NetworkSection": _section({"Network": "*"}),
    "OperatingSystemSection": _section({"Description": "?"}, ("id",), {"id": _USHORT}),
    "ProductSection": _section(
        _often("Product Vendor Version FullVersion ProductUrl VendorUrl AppUrl")
        | _often("Icon Category Property", "*")
    ),
    "ResourceAllocationSection": _section({"Item": "*"}),
    "StartupSection": _section({"Item": "*"}),
    "VirtualHardwareSection": _section({"System": "?", "Item": "*"}),
}
_ANY_SECTION = dict.fromkeys(_SECTIONS, "*")
_CONTENT = _often("VirtualSystem VirtualSystemCollection", "*")
_QUANTITIES: dict[str, Values] = dict.fromkeys(("VirtualQuantity", "Reservation", "Limit"), _ULONG)

_SHAPES = {
    **_SECTIONS,
    "Envelope": Shape({"References": "1", **_ANY_SECTION, **_CONTENT, "Strings": "*"}),
    "References": Shape({"File": "*"}),
    "File": Shape({}, ("id", "href"), {"size": _ULONG, "chunkSize": _LONG}),
    "VirtualSystem": Shape({"Info": "1", "Name": "?", **_ANY_SECTION}, ("id",)),
    "VirtualSystemCollection": Shape(
        {"Info": "1", "Name": "?", **_ANY_SECTION, **_CONTENT}, ("id",)
    ),
    "Strings": Shape({"Msg": "*"}, open=False),
    "Disk": Shape({}, ("diskId", "capacity"), {"populatedSize": _LONG}),
    "Network": Shape({"Description": "?"}, ("name",), open=False),
    "Configuration": Shape(
        {"Label": "1", "Description": "1"}, ("id",), {"default": _BOOLEAN}, open=False
    ),
    "Icon": Shape({}, ("fileRef",), {"height": _USHORT, "width": _USHORT}, open=False),
    "Property": Shape(
        {"Label": "?", "Description": "?", "Value": "*"},
        ("key", "type"),
        {"userConfigurable": _BOOLEAN, "password": _BOOLEAN},
        open=False,
    ),
    "Value": Shape({}, ("value",)),
    "StartupSection/Item": Shape(
        {},
        ("id", "order"),
        {"order": _USHORT, "startDelay": _USHORT, "stopDelay": _USHORT}
        | {"waitingForGuest": _BOOLEAN},
        open=False,
    ),
    "Item": Shape(
        {"ElementName": "1", "InstanceID": "1", "Connection": "*", "HostResource": "*"}
        | _often("Address AddressOnParent AllocationUnits AutomaticAllocation Caption Description")
        | _often("AutomaticDeallocation ConsumerVisibility Limit MappingBehavior Parent PoolID")
        | _often("OtherResourceType Reservation ResourceSubType ResourceType VirtualQuantity")
        | _often("VirtualQuantityUnits Weight"),
        (),
        {"required": _BOOLEAN},
        {"ResourceType": _USHORT, "Weight": range(1 << 32), **_QUANTITIES}
        | {"ConsumerVisibility": _USHORT, "MappingBehavior": _USHORT}
        | {"AutomaticAllocation": _BOOLEAN, "AutomaticDeallocation": _BOOLEAN},
        RASD,
    ),
    "System": Shape(
        {"ElementName": "1", "InstanceID": "1"}
        | _often("AutomaticRecoveryAction AutomaticShutdownAction Caption")
        | _often("AutomaticStartupAction AutomaticStartupActionDelay ConfigurationDataRoot")
        | _often("AutomaticStartupActionSequenceNumber ConfigurationFile ConfigurationID")
        | _often("CreationTime Description LogDataRoot RecoveryFile SnapshotDataRoot")
        | _often("SuspendDataRoot SwapFileDataRoot VirtualSystemIdentifier VirtualSystemType")
        | _often("Notes", "*"),
        namespace=VSSD,
    ),
}


_TEXT = Shape(open=False)
_ORDERED_BY_RULES = ("Envelope", "VirtualHardwareSection", "Item", "System")
_HOLDS_ELEMENTS = ("CreationTime", "AutomaticStartupActionDelay")


def faults(root: ElementTree.Element) -> Iterator[str]:
    """Every fault of an Envelope, as sentences."""
    yield from _faults(root, "Envelope")


def _faults(element: ElementTree.Element, name: str) -> Iterator[str]:
    shape = _SHAPES.get(name, _TEXT)
    where = name.rpartition("/")[2]
    yield from _of_attributes(element, shape, where)
    yield from _of_children(element, shape, where)
    texts = [element.text or "", *(child.tail or "" for child in element)]
    if shape is not _TEXT and "".join(texts).strip():
        yield f"{where} itself has text"
    for child in element:
        local = _local(child)
        if _is_of(child, OVF_NAMESPACE) and shape.namespace == OVF_NAMESPACE:
            special = f"{where}/{local}"
            yield from _faults(child, special if special in _SHAPES else local)
        elif _is_of(child, shape.namespace):
            yield from _of_value(child, shape)


def _of_children(element: ElementTree.Element, shape: Shape, where: str) -> Iterator[str]:
    known = [_local(child) for child in element if _is_of(child, shape.namespace)]
    for child in element:
        ours = any(_is_of(child, namespace) for namespace in (OVF_NAMESPACE, CIM))
        if not _is_of(child, shape.namespace) and (ours or not shape.open):
            yield f"{_local(child)} is in {where}"
    count = Counter(known)
    for name, times in count.items():
        if name not in shape.children:
            yield f"{where} has an unknown element {name}"
        elif times > 1 and shape.children[name] in "1?":
            yield f"{where} has {times} elements {name}"
    for name, often in shape.children.items():
        if often in "1+" and not count[name]:
            yield f"{where} has no {name}"
    if where not in _ORDERED_BY_RULES:
        places = [_place(child, shape) for child in element]
        if places != sorted(places):
            yield f"the elements of {where} are not in order"


def _place(child: ElementTree.Element, shape: Shape) -> int:
    """Where a child belongs: those that may be there any number of times share a place."""
    names = [name for name, often in shape.children.items() if often in "1?"]
    local = _local(child)
    if not _is_of(child, shape.namespace):  # a section, where sections can be, or the last
        return len(names) + ("DiskSection" not in shape.children)
    return names.index(local) if local in names else len(names)


def _of_value(element: ElementTree.Element, shape: Shape) -> Iterator[str]:
    local, text = _local(element), element.text or ""
    if len(element) and local not in _HOLDS_ELEMENTS:
        yield f"{local} has elements"
    if local in shape.values and not _is_one_of(text, shape.values[local]):
        yield f"{local} is {text!r}"


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _is_of(element: ElementTree.Element, namespace: str) -> bool:
    """Whether an element is of a namespace, or of one whose name begins so."""
    return str(element.tag).startswith(f"{{{namespace}")


def _of_attributes(element: ElementTree.Element, shape: Shape, where: str) -> Iterator[str]:
    for attribute in shape.attributes:
        if element.get(f"{{{OVF_NAMESPACE}}}{attribute}") is None:
            yield f"{where} has no attribute ovf:{attribute}"
    for attribute, values in shape.typed.items():
        text = element.get(f"{{{OVF_NAMESPACE}}}{attribute}")
        if text is not None and not _is_one_of(text, values):
            yield f"ovf:{attribute} of {where} is {text!r}"


def _is_one_of(text: str, values: Values) -> bool:
    """Whether a text is one of these words, or a whole number in this range."""
    text = text.strip()
    if isinstance(values, tuple):
        return text in values
    digits = text.removeprefix("-").removeprefix("+")
    return digits.isascii() and digits.isdigit() and len(digits) < 40 and int(text) in values
