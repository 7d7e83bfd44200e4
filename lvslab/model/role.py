"""A role as role.yaml says it: packages, services, kernel settings, declared changes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvslab.model.lab import Role, Strict, shaped

Package = Annotated[
    str,
    shaped(
        r"^[a-z0-9][a-z0-9+.-]+$",
        "a Debian package name: small letters, digits, +, . and -",
    ),
]
Unit = Annotated[
    str,
    shaped(
        r"^[A-Za-z0-9@._-]+\.(service|socket|target|timer|path)$",
        "a systemd unit with its ending, such as apache2.service",
    ),
]
AbsolutePath = Annotated[
    str, shaped(r"^/\S*$", "a path that begins with / and has no space; *, ? and [] match")
]
Why = Annotated[str, shaped(r"\S", "a reason, in a few words")]
SysctlKey = Annotated[
    str, shaped(r"^[a-z0-9_.*-]+$", "a sysctl name with dots, such as net.ipv4.ip_forward")
]
SysctlText = Annotated[str, shaped(r"^[!-~]([ -~]*[!-~])?$", "a text in one line")]
Module = Annotated[str, shaped(r"^[a-z0-9_-]+$", "a kernel module's name, such as ip_vs_rr")]


class Declared(Strict):
    """A path (glob allowed) that the bake may add or change and that ships, and why."""

    path: AbsolutePath = Field(description="path or glob")
    why: Why = Field(description="why it may ship")


class Handled(Strict):
    """A path (glob allowed) that the bake touches and that does not ship as it is.

    drop: leave it out; base: take it from the base tree; empty: ship it with no content;
    rewrite: ship it with each match of `pattern` replaced.
    """

    path: AbsolutePath = Field(description="path or glob")
    rule: Literal["drop", "base", "empty", "rewrite"] = Field(
        description="drop: leave it out; base: take it from the base tree; empty: no content; "
        "rewrite: replace what fits a pattern"
    )
    pattern: str = Field(
        "", description="rewrite: a regular expression of Python, ^ and $ match at each line"
    )
    replacement: str = Field("", description=r"rewrite: what each match becomes; \1 is a group")
    why: Why = Field(description="why it does not ship as it is")


class RoleSpec(Strict):
    """The whole of role.yaml. `common` is merged in front of each role (see `load`)."""

    name: Role | Literal["common"] = Field(description="the name of the role's folder")
    summary: Annotated[str, shaped(r"^[^\n]*\S[^\n]*$", "a text in one line")] = Field(
        description="what the role is, in one line"
    )
    packages: tuple[Package, ...] = Field(description="Debian packages, as for apt install")
    enable: tuple[Unit, ...] = Field((), description="units that start at boot")
    mask: tuple[Unit, ...] = Field((), description="units that must never start")
    sysctl: dict[SysctlKey, int | SysctlText] = Field(
        default_factory=dict, description="kernel settings"
    )
    modules: tuple[Module, ...] = Field((), description="kernel modules loaded at boot")
    exclude: tuple[Handled, ...] = Field(
        (), description="paths of packages left out of the base tree (rule: drop)"
    )
    include: tuple[Declared, ...] = Field(
        (), description="paths that stay although `exclude` matches them (dpkg path-include)"
    )
    keep: tuple[Declared, ...] = Field((), description="what the bake may add or change, and ships")
    handle: tuple[Handled, ...] = Field((), description="what the bake touches, but does not ship")
