"""Rules for what an OVF says to programs: properties (DSP0243 9.5), VirtualBox's own section.

Sources: vSphere's API, VAppPropertyInfo; VirtualBox, ApplianceImplImport and Settings.
"""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from lvslab.formats.ova import OVF_NAMESPACE
from lvslab.verify.ova.package import VBOX, Envelope, attribute, local
from lvslab.verify.rules import RuleSet, demand

PRODUCT: RuleSet[Envelope] = RuleSet()


def _full_name(section: ElementTree.Element, key: str) -> str:
    """`[class.]key[.instance]`, as the guest and vSphere know a property."""
    names = (attribute(section, "class"), key, attribute(section, "instance"))
    return ".".join(filter(None, names))


@PRODUCT.rule(
    "ovf-property-keys",
    "a property's key, class and instance have no white space, and together they are unique",
    "vSphere: 'VAppPropertyFault' ([class.]key[.instance] must be unique, without white space)",
)
def _property_keys(ovf: Envelope) -> str:
    count = 0
    for system in (*ovf.all("VirtualSystem"), *ovf.all("VirtualSystemCollection")):
        names: Counter[str] = Counter()
        for section in system.findall(f"{{{OVF_NAMESPACE}}}ProductSection"):
            for element in section.iter(f"{{{OVF_NAMESPACE}}}Property"):
                key = attribute(element, "key")
                name = _full_name(section, key)
                demand(key, "a property has no key")
                demand(len(name.split()) == 1 and name == name.strip(), f"white space in {name!r}")
                names[name] += 1
        for name, times in names.items():
            demand(times == 1, f"the property {name} is there {times} times")
        count += len(names)
    return f"{count} properties, each with its own name"


@PRODUCT.rule(
    "ovf-virtualbox",
    "a vbox:Machine has a uuid, and each of its hard disks is a Disk of the OVF, by its vbox:uuid",
    "VirtualBox: '<vbox:Machine> element in OVF contains a medium attachment for the disk image …, "
    "but the OVF describes no such image'",
)
def _virtualbox(ovf: Envelope) -> str:
    machines = list(ovf.root.iter(f"{{{VBOX}}}Machine"))
    if not machines:
        return "there is no vbox:Machine"
    for machine in machines:
        demand(machine.get("uuid"), "the vbox:Machine has no uuid")
    known = {_uuid(disk.get(f"{{{VBOX}}}uuid", "")) for disk in ovf.all("Disk")} - {""}
    images = []
    for element in (e for machine in machines for e in machine.iter()):
        if local(element.tag) == "AttachedDevice" and element.get("type") == "HardDisk":
            found = [_uuid(c.get("uuid", "")) for c in element if local(c.tag) == "Image"]
            demand(found, "a hard disk of the vbox:Machine has no Image")
            images += found
    for image in images:
        demand(image in known, f"the vbox:Machine has the disk image {image}, which is not a Disk")
    return f"{len(images)} disk images, all of the OVF"


def _uuid(text: str) -> str:
    return text.strip().strip("{}").lower()
