"""A role as role.yaml says it: packages, services, kernel settings, declared changes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lvslab.model.shapes import Name, Port, Strict, shaped

RoleName = Annotated[
    str,
    shaped(
        r"^[a-z](-?[a-z0-9]){0,30}$",
        "the name of a folder of roles/: small letters, digits and -, a letter first",
    ),
]

PackageName = Annotated[
    str,
    shaped(
        r"^[a-z0-9][a-z0-9+.-]+$",
        "a Debian package name: small letters, digits, +, . and -",
    ),
]
Unit = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9@._-]+\.(service|socket|target|timer|path|mount|automount)$",
        "a systemd unit with its ending, such as apache2.service",
    ),
]
AbsolutePath = Annotated[
    str, shaped(r"^/\S*$", "a path that begins with / and has no space; *, ? and [] match")
]
Paths = tuple[AbsolutePath, ...]
Why = Annotated[str, shaped(r"\S", "a reason, in a few words")]
SysctlKey = Annotated[
    str, shaped(r"^[a-z0-9_.*-]+$", "a sysctl name with dots, such as net.ipv4.ip_forward")
]
SysctlText = Annotated[str, shaped(r"^[!-~]([ -~]*[!-~])?$", "a text in one line")]
Module = Annotated[str, shaped(r"^[a-z0-9_-]+$", "a kernel module's name, such as ip_vs_rr")]


class Declared(Strict):
    """Paths (globs allowed) that the bake may add or change and that ship, and why."""

    why: Why = Field(description="why they may ship, or need not")
    paths: Paths = Field(description="paths or globs")


class Handled(Strict):
    """Paths (globs allowed) that the bake touches and that do not ship as they are.

    drop: leave them out; base: take them from the base tree; empty: ship them with no content;
    rewrite: ship them with each match of `pattern` replaced.
    """

    rule: Literal["drop", "base", "empty", "rewrite"] = Field(
        description="drop: leave it out; base: take it from the base tree; empty: no content; "
        "rewrite: replace what fits a pattern"
    )
    pattern: str = Field(
        "", description="rewrite: a regular expression of Python, ^ and $ match at each line"
    )
    replacement: str = Field("", description=r"rewrite: what each match becomes; \1 is a group")
    why: Why = Field(description="why they do not ship as they are")
    paths: Paths = Field(description="paths or globs")


class Kind(StrEnum):
    """What kind of machine a role makes: how it behaves in the cluster."""

    DIRECTOR = "director"
    SERVER = "server"
    HOST = "host"


Probe = Literal["http", "https", "dns", "tcp"]
"""How a service is asked: for a page, for the server's name by DNS, or only for a connection."""


class Service(Strict):
    """What a role serves: the unit that does, where, and how it is asked."""

    unit: Unit = Field(description="the systemd unit that serves")
    protocol: Literal["TCP"] = Field("TCP", description="what the clients speak")
    port: Port = Field(description="its usual port; a virtual server may have another")
    probe: Probe = Field(
        "tcp",
        description="http, https: a page, whose header X-Real-Server is the node's name (who "
        "signed the certificate is not asked); dns: the name of "
        "the server (RFC 4892, id.server in class CH); tcp: a connection",
    )


class Role(Strict):
    """What a lab must know of a role: it is asked in the place of the role's name."""

    kind: Kind = Field(
        Kind.HOST,
        description="director: VRRP and IPVS, its addresses are keepalived's; server: static "
        "addresses, policy routing, serves virtual servers; host: static addresses, nothing of LVS",
    )

    services: dict[Name, Service] = Field(
        default_factory=dict, description="what it serves, by the name that virtual servers use"
    )

    def head(self) -> Role:
        """The role without what only its images need."""
        return Role(**{name: getattr(self, name) for name in Role.model_fields})


class Reading(Strict):
    """A program that the bake lets read the role's configuration, and what it must say.

    `{port}` in a text stands for each port that virtual servers want of the role.
    """

    what: Why = Field(description="what is checked, in a few words")
    run: tuple[Annotated[str, shaped(r"^[^\n]+$", "a word of a command")], ...] = Field(
        description="the program and its arguments, run by root"
    )
    says: str = Field("", description="must be in what it writes")
    exactly: str = Field("", description="must be all that it writes")


class RoleFile(Role):
    """The whole of role.yaml, as it is written; `common` is merged in front of it (see `load`)."""

    name: RoleName = Field(description="the name of the role's folder")
    summary: Annotated[str, shaped(r"^[^\n]*\S[^\n]*$", "a text in one line")] = Field(
        description="what the role is, in one line"
    )
    packages: tuple[PackageName, ...] = Field(description="Debian packages, as for apt install")
    enable: tuple[Unit, ...] = Field((), description="units that start at boot")
    mask: tuple[Unit, ...] = Field((), description="units that must never start")
    sysctl: dict[SysctlKey, int | SysctlText] = Field(
        default_factory=dict, description="kernel settings"
    )
    modules: tuple[Module, ...] = Field((), description="kernel modules loaded at boot")
    exclude: tuple[Declared, ...] = Field(
        (), description="paths of packages left out of the base tree (dpkg path-exclude)"
    )
    include: tuple[Declared, ...] = Field(
        (), description="paths that stay although `exclude` matches them (dpkg path-include)"
    )
    keep: tuple[Declared, ...] = Field((), description="what the bake may add or change, and ships")
    handle: tuple[Handled, ...] = Field((), description="what the bake touches, but does not ship")
    readings: tuple[Reading, ...] = Field(
        (), description="programs that must take their configuration at the end of the bake"
    )


class RoleSpec(RoleFile):
    """A role.yaml and the folder that it is in, where the role's files are, too."""

    folder: Path = Field(exclude=True, description="an absolute path")

    @classmethod
    def in_folder(cls, file: RoleFile, folder: Path) -> RoleSpec:
        """The role of a file in a folder."""
        values = {name: getattr(file, name) for name in RoleFile.model_fields}
        return cls(**values, folder=folder.absolute())
