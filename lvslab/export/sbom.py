"""The bill of materials of an image: CycloneDX 1.6 JSON, from what dpkg says and the lock.

dpkg's status in the final tree says what is installed, the lock says from which bytes;
the two must agree. Source: ECMA-424 (CycloneDX 1.6); deb-control(5) for the fields;
the package-url specification (type `deb`).
"""

from __future__ import annotations

import re
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parseaddr
from pathlib import Path
from typing import Protocol

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lvslab.core.errors import StageError

STATUS = "./var/lib/dpkg/status"
_NAMESPACE = uuid.UUID("7d0a4f5e-93a1-5f0b-8a3b-2c8de0f1b6a4")


class Locked(Protocol):
    """What the bill takes from the lock."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def architecture(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102


def installed(tree: Path) -> list[dict[str, str]]:
    """The fields of every installed package, by dpkg's status in the tar of a tree.

    Raises StageError if the tree has no such file.
    """
    with tarfile.open(tree) as tar:
        try:
            file = tar.extractfile(STATUS)
        except KeyError:
            file = None
        if file is None:
            raise StageError("the tree has no status of dpkg", where=str(tree))
        text = file.read().decode()
    stanzas = [dict(_fields(stanza)) for stanza in text.strip().split("\n\n")]
    return [stanza for stanza in stanzas if stanza.get("Status", "").endswith(" installed")]


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    """Fields of a stanza in one line each; continued lines are joined (deb822(5))."""
    for match in re.finditer(r"^(\S+?):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M):
        yield match[1], match[2]


def bill(
    name: str, version: str, suite: str, tree: Path, locked: Sequence[Locked], epoch: int
) -> str:
    """The bill of materials of the image `name`, whose final tree is the tar `tree`.

    Time and serial number come from `epoch` and the content, so the same image has the
    same bill, byte for byte. Raises StageError when dpkg and the lock disagree.
    """
    stanzas = {fields["Package"]: fields for fields in installed(tree)}
    by_name = {package.name: package for package in locked}
    _demand_equal(stanzas, by_name)
    parts = {
        package: _component(fields, by_name[package], suite) for package, fields in stanzas.items()
    }
    image = Component(
        name=f"{name} image",
        version=version,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"image:{name}",
        description=f"Debian {suite} with the role {name} of the LVS lab",
    )
    content = "\n".join(sorted(f"{p.name} {p.version} {p.sha256}" for p in locked))
    bom = Bom(
        components=parts.values(),
        serial_number=uuid.uuid5(_NAMESPACE, f"{name} {version} {suite} {epoch}\n{content}"),
        metadata=BomMetaData(component=image, timestamp=datetime.fromtimestamp(epoch, UTC)),
    )
    bom.register_dependency(image, parts.values())
    providers = _providers(stanzas)
    for package, fields in stanzas.items():
        needed = sorted(_needed(fields, providers) - {package})
        bom.register_dependency(parts[package], [parts[other] for other in needed])
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text + "\n"


def _demand_equal(stanzas: Mapping[str, Mapping[str, str]], locked: Mapping[str, Locked]) -> None:
    there = {name: fields["Version"] for name, fields in stanzas.items()}
    wanted = {name: package.version for name, package in locked.items()}
    wrong = sorted(
        name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name)
    )
    if wrong:
        shown = "".join(
            f"\n    {name}: installed {there.get(name, 'not')}, locked {wanted.get(name, 'not')}"
            for name in wrong
        )
        raise StageError(f"what is installed is not what is locked:{shown}", where="packages.lock")


def _component(fields: Mapping[str, str], package: Locked, suite: str) -> Component:
    person, address = parseaddr(fields.get("Maintainer", ""))
    source, _, source_version = fields.get("Source", package.name).partition(" ")
    purl = PackageURL(
        "deb",
        "debian",
        package.name,
        package.version,
        {"arch": package.architecture, "distro": suite},
    )
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=package.name,
        purl=purl,
        description=fields.get("Description", "").partition("\n")[0] or None,
        supplier=OrganizationalEntity(
            name=person or "unknown",
            contacts=[OrganizationalContact(name=person, email=address)] if address else None,
        ),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
        properties=[
            Property(name="deb:section", value=fields.get("Section", "")),
            Property(name="deb:source", value=source),
            Property(
                name="deb:source-version", value=source_version.strip("()") or package.version
            ),
        ],
    )


def _providers(stanzas: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """Which installed packages a name stands for: the package itself, or those that Provide it."""
    found: dict[str, set[str]] = {name: {name} for name in stanzas}
    for name, fields in stanzas.items():
        for provided in _names(fields.get("Provides", "")):
            found.setdefault(provided, set()).add(name)
    return found


def _needed(fields: Mapping[str, str], providers: Mapping[str, set[str]]) -> set[str]:
    """The installed packages that a package depends on; of alternatives, those that are there."""
    relations = f"{fields.get('Depends', '')},{fields.get('Pre-Depends', '')}"
    return {other for name in _names(relations) for other in providers.get(name, ())}


def _names(relations: str) -> Iterator[str]:
    """The names in a relation field: commas and alternatives, no versions or architectures."""
    for relation in re.split(r"[,|]", relations):
        if match := re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", relation):
            yield match[1]
