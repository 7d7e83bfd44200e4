"""The lock names exact packages and no host; what it does not cover stops the build."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lvslab.build import lockfile as locks
from lvslab.build import mirror
from lvslab.build.lockfile import Lock, LockChange, Package
from lvslab.core.archives import PUBLIC
from lvslab.core.errors import InputError
from lvslab.model.lab import Debian, Lab
from lvslab.model.role import RoleSpec
from lvslab.render import role_files

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / locks.FILE


def package(name: str, version: str = "1", archive: str = "debian") -> Package:
    folder = "pool/updates" if archive == "debian-security" else "pool"
    return Package(
        name, version, "amd64", "0" * 64, 1, archive, f"{folder}/main/{name}_{version}.deb"
    )


def test_the_committed_lock_covers_the_default_lab(lab: Lab, specs: dict[str, RoleSpec]) -> None:
    locks.check(locks.load(LOCK), lab, specs, LOCK)


def test_a_package_that_is_not_locked_stops_the_build(lab: Lab, specs: dict[str, RoleSpec]) -> None:
    director = specs["director"]
    wider = director.model_copy(update={"packages": (*director.packages, "tshark")})
    with pytest.raises(InputError, match="role director asks for tshark") as caught:
        locks.check(locks.load(LOCK), lab, {"director": wider}, LOCK)
    assert caught.value.hint == "python3 build.py lock --update"


def test_a_package_that_nobody_asks_for_any_more_stops_the_build(
    lab: Lab, specs: dict[str, RoleSpec]
) -> None:
    """It would ship unseen: all that is locked for a role is installed."""
    server = specs["real-server"]
    fewer = [name for name in server.packages if name not in ("php8.4-fpm", "nano")]
    narrower = server.model_copy(update={"packages": tuple(fewer)})
    with pytest.raises(InputError) as caught:
        locks.check(locks.load(LOCK), lab, {"real-server": narrower}, LOCK)
    assert caught.value.message == (
        "the lock is out of date: role real-server no longer asks for nano, php8.4-fpm"
    )


def test_another_set_of_tools_stops_the_build(
    lab: Lab, specs: dict[str, RoleSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "TOOLS", (*locks.TOOLS[1:], "squashfs-tools"))
    with pytest.raises(InputError, match="lvslab asks for squashfs-tools; lvslab no longer asks "):
        locks.check(locks.load(LOCK), lab, specs, LOCK)


def test_another_suite_stops_the_build(lab: Lab, specs: dict[str, RoleSpec]) -> None:
    debian = Debian.model_construct(suite="bookworm")  # type: ignore[arg-type]  # unknown here
    older = lab.model_copy(update={"debian": debian})
    with pytest.raises(InputError, match="it is of trixie, lab.yaml asks for bookworm"):
        locks.check(locks.load(LOCK), older, specs, LOCK)


def test_a_lock_names_no_host() -> None:
    assert "://" not in LOCK.read_text()


def test_save_and_load_give_the_same_lock(tmp_path: Path) -> None:
    lock = locks.load(LOCK)
    locks.save(lock, tmp_path / "lock")
    assert locks.load(tmp_path / "lock").packages == lock.packages
    assert locks.load(tmp_path / "lock").asked == lock.asked
    assert (tmp_path / "lock").read_bytes() == LOCK.read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": [{"name": 1}]}'])
def test_a_broken_lock_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "packages.lock"
    path.write_text(text)
    with pytest.raises(InputError, match="not a lock of packages"):
        locks.load(path)


def test_a_missing_lock_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lock --update"):
        locks.load(tmp_path / "packages.lock")


def test_an_update_is_compared_by_group_and_package() -> None:
    old = Lock("trixie", 1, {"base": (package("a"), package("gone"))})
    fixed = package("a", "2", "debian-security")
    new = replace(old, groups={"base": (fixed, package("new"))})
    assert locks.compare(old, new) == [
        LockChange("base", "a", "1", "2", True),
        LockChange("base", "gone", "1", None, False),
        LockChange("base", "new", None, "1", False),
    ]
    assert locks.compare(new, new) == []


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"path": "pool/main/other.deb"}])
def test_another_file_of_the_same_version_is_a_change(change: dict[str, str]) -> None:
    before, after = package("a"), replace(package("a"), **change)  # type: ignore[arg-type]
    old, new = (Lock("trixie", 1, {"base": (p,)}) for p in (before, after))
    (found,) = locks.compare(old, new)
    assert found.old == "1 (sha256 000000000000, pool/main/a_1.deb)"
    assert found.new == f"1 (sha256 {after.sha256[:12]}, {after.path})"


def test_an_apt_source_of_the_host_is_found_in_both_styles(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb [arch=amd64] http://one.example/debian/ sid main\n")
    (tmp_path / "sources.list.d/x.sources").write_text(
        "Types: deb\nURIs: http://two.example/debian-security http://two.example/other\n"
        "Suites: trixie-security\nComponents: main\n"
    )
    found = mirror.find(None, tmp_path)
    assert found.bases["debian"] == ("http://one.example/debian", DEBIAN)
    assert found.bases["debian-security"] == ("http://two.example/debian-security", SECURITY)
    assert found.lacking == ()


UBUNTU = """Types: deb
URIs: http://archive.ubuntu.com/ubuntu/
Suites: noble noble-updates noble-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
ONE = UBUNTU.replace("archive.ubuntu.com/ubuntu", "one.example/debian").replace(
    "ubuntu-", "debian-"
)
DEBIAN, SECURITY = (
    "http://ftp.debian.org/debian",
    "http://{}.debian.org/debian-security".format("security"),
)


@pytest.mark.parametrize(
    ("name", "text", "debian", "security"),
    [
        ("a.sources", UBUNTU, [], []),
        ("a.sources", ONE, ["http://one.example/debian"], []),
        ("a.sources", f"Enabled: no\n{ONE}", [], []),
        ("a.sources", ONE.replace("Types: deb", "Types: deb-src"), [], []),
        ("a.sources", f"# Types: deb\n#\n{UBUNTU}\n{ONE}", ["http://one.example/debian"], []),
        (
            "a.sources",
            ONE.replace("URIs:", "URIs:\n http://two.example/debian-security\n"),
            ["http://one.example/debian"],
            ["http://two.example/debian-security"],
        ),
        ("a.list", "deb https://docker.example/linux/debian trixie stable\n", [], []),
        ("a.list", "deb https://mongo.example/debian trixie/org/8 main\n", [], []),
        ("a.list", "# deb http://one.example/debian trixie main\n", [], []),
        ("a.list", "deb cdrom:[Debian 13]/debian trixie main\n", [], []),
        (
            "a.list",
            "deb [ arch=amd64 signed-by=/k/us.gpg ] http://us.example/debian trixie main\n"
            "deb http://one.example/debian trixie main contrib # what it is\n",
            ["http://one.example/debian", "http://us.example/debian"],
            [],
        ),
        ("a.list", "deb http://sec.example/ trixie trixie-security main\n", [], []),
        (
            "a.list",
            "deb http://sec.example/ trixie-security main\n",
            [],
            ["http://sec.example"],
        ),
    ],
)
def test_the_archives_of_a_host(
    tmp_path: Path, name: str, text: str, debian: list[str], security: list[str]
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    found = mirror.find(None, tmp_path)
    assert found.bases == {
        "debian": (*debian, DEBIAN),
        "debian-security": (*security, SECURITY),
    }
    lacking = {"debian": not debian, "debian-security": not security}
    assert found.lacking == tuple(name for name, lacks in lacking.items() if lacks)
    assert found.with_snapshot(1).lacking == found.lacking


def test_a_host_whose_sources_are_a_list_of_mirrors(tmp_path: Path) -> None:
    (tmp_path / "debian.list").write_text("# ours\nhttp://one.example/debian\tpriority:1\n\n")
    (tmp_path / "sources.list").write_text(
        f"deb mirror+file:{tmp_path}/debian.list trixie main\n"
        "deb mirror+file:/nonexistent/list trixie-security main\n"
    )
    found = mirror.find(None, tmp_path)
    assert found.bases["debian"] == ("http://one.example/debian", DEBIAN)
    assert found.lacking == ("debian-security",)


def test_the_image_asks_each_archive_where_debian_documents_it(
    lab: Lab, specs: dict[str, RoleSpec]
) -> None:
    for spec in specs.values():
        text = role_files(lab, spec)["/etc/apt/sources.list.d/debian.sources"].content
        uris = [line.split()[1] for line in text.splitlines() if line.startswith("URIs:")]
        assert uris == list(PUBLIC.values())


def test_the_option_goes_first_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVSLAB_MIRROR", "http://env.example")
    assert mirror.find("http://me.example/debian").bases["debian"] == ("http://me.example/debian",)
    assert mirror.find(None).bases["debian-security"] == ("http://env.example/debian-security",)


def test_several_mirrors_are_tried_in_their_order() -> None:
    found = mirror.find("http://one.example/debian/ http://two.example")
    assert found.urls("debian-security", "pool/x") == [
        "http://one.example/debian-security/pool/x",
        "http://two.example/debian-security/pool/x",
    ]


def test_the_snapshot_archive_is_asked_last_for_what_it_took_after_the_lock_s_date() -> None:
    found = mirror.find("http://one.example").with_snapshot(1_800_000_000)
    assert found.urls("debian-security", "pool/x") == [
        "http://one.example/debian-security/pool/x",
        f"{mirror.SNAPSHOT}/debian-security/20270116T080000Z/pool/x",
        f"{mirror.SNAPSHOT}/debian-security/20270115T080000Z/pool/x",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "http://me.example you.example",
        "me.example",
        "ftp://me.example",
        "http://",
        "/srv",
        "http://[::1",
        "http://me:x",
    ],
)
def test_no_address_of_a_mirror(address: str) -> None:
    with pytest.raises(InputError, match="is not the address of a mirror"):
        mirror.find(address)


def test_every_row_of_the_lock_is_one_line() -> None:
    rows = [line for line in LOCK.read_text().splitlines() if '"sha256"' in line]
    assert len(rows) == len(json.loads(LOCK.read_text())["packages"])
