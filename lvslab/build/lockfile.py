"""The lock: the exact packages of every role and of the tools that shape bytes.

`packages.lock` is JSON with one package a line. A package is named by archive and path,
never by a host, and by the sha256 that every use of it is checked against.
"""

from __future__ import annotations

import calendar
import email.utils
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lvslab.build.mirror import ARCHIVES, Mirrors
from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.events import Listener, silent
from lvslab.core.files import write_atomic
from lvslab.core.places import PROGRAM
from lvslab.core.procs import run
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec

FILE = "packages.lock"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What makes disks: unpacked from the pool and run from there, so the host's versions do
# not matter. libarchive is what `mke2fs -d` reads a tar with; it is loaded at run time.
TOOLS = (
    "e2fsprogs",
    "libarchive13t64",
    "grub-common",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "mtools",
    "dosfstools",
)


@dataclass(frozen=True)
class Package:
    """One package file of an archive; `size` in bytes."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    archive: str
    path: str


@dataclass(frozen=True)
class Lock:
    """Packages by name for each group: `base` (every role), each role's own, and `tools`.

    `epoch` is the date of the newest archive index in seconds since 1970: the
    SOURCE_DATE_EPOCH of everything that is built from this lock. `asked` are the names that
    each role, and `tools`, asked for; the other packages are what these depend on.
    """

    suite: str
    epoch: int
    groups: Mapping[str, tuple[Package, ...]]
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def packages(self) -> tuple[Package, ...]:
        """All packages, each once, by path."""
        every = {p.path: p for group in self.groups.values() for p in group}
        return tuple(every[path] for path in sorted(every))

    def of_role(self, role: str) -> tuple[Package, ...]:
        """What is installed in the image of a role."""
        return tuple(sorted((*self.groups["base"], *self.groups[role]), key=lambda p: p.name))


def load(path: Path) -> Lock:
    """Read a lock. Raises InputError if it is missing or not one of ours."""
    try:
        data = json.loads(path.read_text())
        by_path = {p["path"]: Package(**p) for p in data["packages"]}
        groups = {
            name: tuple(by_path[path] for path in paths) for name, paths in data["groups"].items()
        }
        asked = {name: tuple(names) for name, names in data["asked"].items()}
        return Lock(data["suite"], int(data["epoch"]), groups, asked)
    except FileNotFoundError:
        raise InputError(
            "the lock is missing", where=str(path), hint=f"make it: {PROGRAM} lock --update"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"this is not a lock of packages ({error!r})",
            where=str(path),
            hint=f"restore it from git, or make it again: {PROGRAM} lock --update",
        ) from None


def save(lock: Lock, path: Path) -> None:
    """Write a lock, sorted, one package a line, so that a diff reads well."""
    rows = ",\n".join(f"  {json.dumps(asdict(p))}" for p in lock.packages)
    groups = {name: [package.path for package in group] for name, group in lock.groups.items()}
    write_atomic(
        path,
        f'{{\n "suite": {json.dumps(lock.suite)},\n "epoch": {lock.epoch},\n'
        f' "asked": {_lists(lock.asked)},\n "groups": {_lists(groups)},\n'
        f' "packages": [\n{rows}]\n}}\n',
    )


def _lists(lists: Mapping[str, Sequence[str]]) -> str:
    """Lists by name as JSON, sorted, one entry a line."""
    rows = (
        f"  {json.dumps(name)}: [\n"
        + ",\n".join(f"   {json.dumps(entry)}" for entry in sorted(entries))
        + "]"
        for name, entries in sorted(lists.items())
    )
    return "{\n" + ",\n".join(rows) + "}"


def check(lock: Lock, lab: Lab, roles: Mapping[str, RoleSpec], path: Path) -> None:
    """Raise InputError if the lock was not made for what lab.yaml, the roles and TOOLS ask for.

    A package that nobody asks for any more would still ship: as wrong as one that is missing.
    """
    stale = []
    if lock.suite != lab.debian.suite:
        stale.append(f"it is of {lock.suite}, lab.yaml asks for {lab.debian.suite}")
    asking = {f"role {role}": (role, spec.packages) for role, spec in roles.items()}
    for who, (group, names) in (asking | {"lvslab": ("tools", TOOLS)}).items():
        locked = set(lock.asked.get(group, ()))
        if missing := sorted(set(names) - locked):
            stale.append(f"{who} asks for {', '.join(missing)}")
        if dropped := sorted(locked - set(names)):
            stale.append(f"{who} no longer asks for {', '.join(dropped)}")
    if stale:
        raise InputError(
            "the lock is out of date: " + "; ".join(stale),
            where=str(path),
            hint=f"{PROGRAM} lock --update",
        )


@dataclass(frozen=True)
class _Apt:
    """An apt of its own: its lists, cache and empty status live in `root`, the host's are not
    touched, and no package counts as installed."""

    root: Path
    listener: Listener

    def prepare(self, suite: str, mirrors: Mirrors) -> None:
        for folder in (
            "lists/partial",
            "cache/archives/partial",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "log",
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        suites = {
            "debian": (suite, f"{suite}-updates"),
            "debian-security": (f"{suite}-security",),
        }
        (self.root / "sources.list").write_text(
            "".join(
                f"deb [signed-by={KEYRING}] {mirrors.bases[archive][0]} {name} main\n"
                for archive in ARCHIVES
                for name in suites[archive]
            )
        )
        (self.root / "apt.conf").write_text(
            "".join(
                f'{key} "{value}";\n'
                for key, value in {
                    "Dir::State": self.root,
                    "Dir::State::status": self.root / "status",
                    "Dir::Cache": self.root / "cache",
                    "Dir::Etc": self.root / "etc",
                    "Dir::Etc::sourcelist": self.root / "sources.list",
                    "Dir::Etc::sourceparts": "/dev/null",
                    "Dir::Log": self.root / "log",
                    "APT::Architecture": "amd64",
                    "APT::Architectures": "amd64",
                    "APT::Install-Recommends": "false",
                    "APT::Sandbox::User": "",
                    "Acquire::Languages": "none",
                }.items()
            )
        )

    def __call__(self, program: str, *words: str, hint: str = "") -> str:
        return run(
            [program, *words],
            what="resolving packages",
            env={"APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C.UTF-8"},
            listener=self.listener,
            hint=hint,
        )


def resolve(
    lab: Lab,
    roles: Mapping[str, RoleSpec],
    mirrors: Mirrors,
    work: Path,
    *,
    ignore_valid_until: bool = False,
    listener: Listener = silent,
) -> Lock:
    """Ask apt for the newest packages of every role and of the tools.

    The archive's signatures are checked against Debian's keys; an index past its
    Valid-Until is refused unless `ignore_valid_until`. `work` is an empty folder.
    Raises StageError when the archive cannot be read or a package does not exist.
    """
    apt = _Apt(work, listener)
    apt.prepare(lab.debian.suite, mirrors)
    options = ["-o", "Acquire::Check-Valid-Until=false"] if ignore_valid_until else []
    try:
        apt("apt-get", "update", "--error-on=any", *options)
    except LabError as error:
        # The signature first: what a stranger has signed is not a mirror that is behind.
        if "is not signed" in error.message:
            error.hint = f"what it has is not signed by Debian ({KEYRING}): give another --mirror"
        elif re.search(r"Valid-Until|is expired", error.message):
            error.hint = "the mirror is behind; try another --mirror, or --ignore-valid-until"
        else:
            error.hint = "check the network, or give another --mirror"
        raise
    essential = _essential(apt("apt-cache", "dumpavail"))
    shared = set.intersection(*(set(spec.packages) for spec in roles.values()))
    base = _closure(apt, [*essential, "apt", *sorted(shared)])
    groups = {"base": base, "tools": _closure(apt, TOOLS)}
    for role, spec in roles.items():
        whole = _closure(apt, [*essential, "apt", *spec.packages])
        names = {p.name for p in base}
        if not names <= {p.name for p in whole}:
            raise StageError(f"role {role} cannot be installed on top of the common packages")
        groups[role] = tuple(p for p in whole if p.name not in names)
    asked = {role: tuple(sorted(spec.packages)) for role, spec in roles.items()}
    asked["tools"] = tuple(sorted(TOOLS))
    return Lock(lab.debian.suite, _newest_date(work / "lists"), groups, asked)


def _essential(dump: str) -> list[str]:
    """Essential and required packages: what mmdebstrap's `minbase` begins with."""
    found = [
        _field(stanza, "Package")
        for stanza in dump.split("\n\n")
        if re.search(r"^(Essential: yes|Priority: required)$", stanza, re.M)
    ]
    return sorted(set(found))


def _closure(apt: _Apt, names: Iterable[str]) -> tuple[Package, ...]:
    """The named packages and all they depend on, as apt would install them on an empty system."""
    out = apt(
        "apt-get", "install", "--simulate", "--no-install-recommends", *names,
        hint="is a package of a role misspelt, or not in this suite?",
    )  # fmt: skip
    chosen = dict(re.findall(r"^Inst (\S+) \((\S+) ", out, re.M))
    shown = apt("apt-cache", "show", *(f"{name}={version}" for name, version in chosen.items()))
    found = {}
    for stanza in shown.strip().split("\n\n"):
        package = _package(stanza)
        if chosen.get(package.name) == package.version:
            found[package.name] = package
    if lost := chosen.keys() - found.keys():
        raise StageError(f"apt does not say where these are: {', '.join(sorted(lost))}")
    return tuple(found[name] for name in sorted(found))


def _package(stanza: str) -> Package:
    path = _field(stanza, "Filename")
    return Package(
        name=_field(stanza, "Package"),
        version=_field(stanza, "Version"),
        architecture=_field(stanza, "Architecture"),
        sha256=_field(stanza, "SHA256"),
        size=int(_field(stanza, "Size")),
        # The layout of Debian's archives: security updates are in pool/updates/.
        archive="debian-security" if path.startswith("pool/updates/") else "debian",
        path=path,
    )


def _field(stanza: str, name: str) -> str:
    match = re.search(rf"^{name}: (.*)$", stanza, re.M)
    if match is None:
        raise StageError(f"a package of the archive has no {name}")
    return match[1].strip()


def _newest_date(lists: Path) -> int:
    """The `Date:` of the newest index, in seconds since 1970."""
    dates = []
    for path in lists.glob("*Release"):
        if match := re.search(r"^Date: (.*)$", path.read_text(), re.M):
            parsed = email.utils.parsedate_tz(match[1])
            assert parsed is not None
            dates.append(calendar.timegm(parsed[:6]))
    return max(dates)


@dataclass(frozen=True)
class LockChange:
    """One line of what an update does to a group: old or new version may be absent.

    If the version stays and the file is another, both are named with sum and path.
    """

    group: str
    name: str
    old: str | None
    new: str | None
    security: bool


def compare(old: Lock | None, new: Lock) -> Sequence[LockChange]:
    """What differs between two locks, by group and package."""
    changes = []
    for group in sorted({*new.groups, *(old.groups if old else ())}):
        before = {p.name: p for p in (old.groups.get(group, ()) if old else ())}
        after = {p.name: p for p in new.groups.get(group, ())}
        for name in sorted(before.keys() | after.keys()):
            b, a = before.get(name), after.get(name)
            if b != a:
                same = b is not None and a is not None and b.version == a.version
                security = a is not None and a.archive == "debian-security"
                changes.append(LockChange(group, name, _said(b, same), _said(a, same), security))
    return changes


def _said(package: Package | None, whole: bool) -> str | None:
    """The version of a package, with its file if that alone tells it from another."""
    if package is None:
        return None
    file = f" (sha256 {package.sha256[:12]}, {package.path})" if whole else ""
    return f"{package.version}{file}"
