"""Default-deny: what the role does not declare does not ship, and stops the build by name."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lvslab.build import policy
from lvslab.build.changes import TreeChange, TreeEntry, base_entry, index, load, save
from lvslab.core.errors import StageError
from lvslab.model.role import Declared, Handled, RoleSpec
from lvslab.render.texts import RenderedFile

EPOCH = 1_800_000_000


def file_entry(text: str, mode: int = 0o644) -> TreeEntry:
    return TreeEntry("file", mode, 0, 0, sha256=hashlib.sha256(text.encode()).hexdigest())


def spec(keep: tuple[str, ...] = (), **handle: str) -> RoleSpec:
    return RoleSpec(
        name="director",
        summary="a role of a test",
        folder=Path("roles/director"),
        packages=("keepalived",),
        keep=tuple(Declared(paths=(path,), why="test") for path in keep),
        handle=tuple(
            Handled.model_validate({"paths": [path], "rule": rule, "why": "test"})
            for rule, path in handle.items()
        ),
    )


class Trees:
    """A base tree with three files and another name of the second, and the blobs of a bake."""

    def __init__(self, folder: Path) -> None:
        self.base, self.blobs, self.final = folder / "base.tar", folder / "blobs", folder / "final"
        self.blobs.mkdir()
        with tarfile.open(self.base, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in ("./", "./etc/", "./etc/a", "./etc/b", "./etc/c"):
                info = tarfile.TarInfo(name.rstrip("/"))
                info.mtime = 1_700_000_000
                data = name.encode()
                if name.endswith("/"):
                    info.type, info.mode, data = tarfile.DIRTYPE, 0o755, b""
                if name == "./etc/b":
                    info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x02"}
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            second = tarfile.TarInfo("./etc/second")
            second.type, second.linkname, second.mtime = tarfile.LNKTYPE, "./etc/b", 1_700_000_000
            tar.addfile(second)

    def old(self, path: str) -> TreeEntry:
        with tarfile.open(self.base) as tar:
            return base_entry(tar, index(tar)[path])

    def added(self, path: str, text: str = "new\n") -> TreeChange:
        entry = file_entry(text)
        (self.blobs / entry.sha256).write_text(text)
        return TreeChange(path, "added", None, entry)

    def changed(self, path: str, text: str = "new\n") -> TreeChange:
        return TreeChange(path, "changed", self.old(path), self.added(path, text).new)

    def removed(self, path: str) -> TreeChange:
        return TreeChange(path, "removed", self.old(path), None)

    def ship(self, role: RoleSpec, *changes: TreeChange) -> dict[str, tarfile.TarInfo]:
        verdicts = policy.judge(changes, role, {"/etc/own": RenderedFile("own\n")})
        policy.demand_declared(verdicts, "director", self.base, self.blobs)
        policy.apply(verdicts, self.base, self.blobs, self.final, EPOCH)
        with tarfile.open(self.final) as tar:
            return index(tar)

    def text(self, path: str) -> bytes:
        with tarfile.open(self.final) as tar:
            content = tar.extractfile(index(tar)[path])
            assert content is not None
            return content.read()


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_no_change_gives_the_base_tree_byte_for_byte(trees: Trees) -> None:
    trees.ship(spec())
    base, final = trees.base.read_bytes(), trees.final.read_bytes()
    assert final.rstrip(b"\0") == base.rstrip(b"\0")


def test_a_declared_file_ships_with_the_time_of_the_lock(trees: Trees) -> None:
    members = trees.ship(spec(keep=("/etc/new",)), trees.added("/etc/new"))
    assert (members["/etc/new"].mtime, trees.text("/etc/new")) == (EPOCH, b"new\n")
    assert members["/etc/a"].mtime == 1_700_000_000


def test_a_file_of_the_role_ships_only_as_it_was_rendered(trees: Trees) -> None:
    trees.ship(spec(), trees.added("/etc/own", "own\n"))
    assert trees.text("/etc/own") == b"own\n"
    with pytest.raises(StageError, match="added /etc/own"):
        trees.ship(spec(), trees.added("/etc/own", "the date is today\n"))


def test_an_extended_attribute_of_the_base_stays(trees: Trees) -> None:
    members = trees.ship(spec(keep=("/etc/a",)), trees.changed("/etc/a"))
    assert members["/etc/b"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\x00\x02"


def test_a_changed_file_that_is_taken_from_base_is_the_base_one(trees: Trees) -> None:
    trees.ship(spec(base="/etc/*"), trees.changed("/etc/a"), trees.added("/etc/new"))
    assert trees.text("/etc/a") == b"./etc/a"
    with pytest.raises(KeyError):
        trees.text("/etc/new")


def test_a_dropped_path_is_left_out(trees: Trees) -> None:
    members = trees.ship(spec(drop="/etc/*"), trees.changed("/etc/a"), trees.added("/etc/new"))
    assert sorted(members) == ["/etc", "/etc/b", "/etc/c", "/etc/second"]


def test_an_emptied_file_ships_with_no_content(trees: Trees) -> None:
    trees.ship(spec(empty="/etc/a"), trees.changed("/etc/a"))
    assert trees.text("/etc/a") == b""


def test_an_emptied_file_has_mode_owner_and_attributes_of_the_base(trees: Trees) -> None:
    old, baked = trees.old("/etc/b"), TreeEntry("file", 0o4777, 33, 33, xattrs={"user.x": "00"})
    members = trees.ship(spec(empty="/etc/*"), TreeChange("/etc/b", "changed", old, baked))
    assert (members["/etc/b"].mode, members["/etc/b"].uid, members["/etc/b"].gid) == (0o644, 0, 0)
    assert list(members["/etc/b"].pax_headers) == ["SCHILY.xattr.security.capability"]
    members = trees.ship(spec(empty="/etc/*"), TreeChange("/etc/new", "added", None, baked))
    assert (members["/etc/new"].mode, members["/etc/new"].uid) == (0o644, 0)
    assert members["/etc/new"].pax_headers == {}
    assert trees.ship(spec(empty="/etc/*"), trees.removed("/etc/a"))["/etc/a"].size == 0


@pytest.mark.parametrize(
    "new",
    [
        TreeEntry("directory", 0o777, 0, 0),
        TreeEntry("link", 0o777, 0, 0, link="/tmp/x"),
        TreeEntry("fifo", 0o666, 0, 0),
    ],
)
def test_what_is_not_a_file_cannot_be_emptied(trees: Trees, new: TreeEntry) -> None:
    old = trees.old("/etc/a")
    for change in (
        TreeChange("/etc/a", "changed", old, new),
        TreeChange("/etc/x", "added", None, new),
    ):
        with pytest.raises(StageError) as caught:
            trees.ship(spec(empty="/etc/*"), change)
        shown = f"{change.what} {change.path} (the rule `empty` is for regular files)"
        assert shown in str(caught.value)


def rewriting(pattern: str, replacement: str) -> RoleSpec:
    rule = Handled(
        paths=("/etc/*",), rule="rewrite", pattern=pattern, replacement=replacement, why="test"
    )
    return spec().model_copy(update={"handle": (rule,)})


def test_a_rewritten_file_ships_without_what_a_bake_leaves_by_chance(trees: Trees) -> None:
    role = rewriting(r"^(made) on [0-9-]+$", r"\1 by the role")
    for date in ("2026-01-01", "2027-02-02"):
        text = f"title\nmade on {date}\nname\n"
        trees.ship(role, trees.changed("/etc/a", text), trees.added("/etc/new", text))
        for path in ("/etc/a", "/etc/new"):
            assert trees.text(path) == b"title\nmade by the role\nname\n"


def test_a_rule_to_rewrite_that_finds_nothing_declares_nothing(trees: Trees) -> None:
    with pytest.raises(StageError) as caught:
        trees.ship(rewriting("made on", ""), trees.changed("/etc/a"))
    assert "changed /etc/a (the rule `rewrite` finds nothing that matches)" in str(caught.value)
    with pytest.raises(StageError, match="the rule `rewrite` is for regular files"):
        trees.ship(rewriting("made on", ""), trees.removed("/etc/a"))


def test_a_declared_removal_removes(trees: Trees) -> None:
    assert "/etc/a" not in trees.ship(spec(keep=("/etc/a",)), trees.removed("/etc/a"))


@pytest.mark.parametrize("rule", ["keep", "drop", "removed"])
def test_another_name_of_a_file_that_changes_stays_what_it_was(trees: Trees, rule: str) -> None:
    change = trees.removed("/etc/b") if rule == "removed" else trees.changed("/etc/b")
    role = spec(drop="/etc/b") if rule == "drop" else spec(keep=("/etc/b",))
    members = trees.ship(role, change)
    second = members["/etc/second"]
    assert second.isreg()
    assert (second.mtime, second.mode) == (1_700_000_000, 0o644)
    assert second.pax_headers["SCHILY.xattr.security.capability"] == "\x01\x00\x02"
    assert trees.text("/etc/second") == b"./etc/b"
    assert ("/etc/b" in members) == (rule == "keep")


def test_another_name_of_a_file_that_stays_is_still_a_hard_link(trees: Trees) -> None:
    members = trees.ship(spec(keep=("/etc/a",), base="/etc/b"), trees.changed("/etc/b"))
    assert members["/etc/second"].islnk()


def test_a_path_named_in_full_goes_before_a_pattern(trees: Trees) -> None:
    role = spec(keep=("/etc/new",), drop="/etc/*")
    assert "/etc/new" in trees.ship(role, trees.added("/etc/new"))


def test_a_new_folder_ships_with_the_declared_file_below_it(trees: Trees) -> None:
    folder = TreeChange("/srv/x", "added", None, TreeEntry("directory", 0o755, 0, 0))
    members = trees.ship(spec(keep=("/srv/x/new",)), folder, trees.added("/srv/x/new"))
    assert members["/srv/x"].isdir()


@pytest.mark.parametrize(
    "folder",
    [
        TreeEntry("directory", 0o777, 0, 0),
        TreeEntry("directory", 0o755, 33, 0),
        TreeEntry("directory", 0o755, 0, 33),
        TreeEntry("directory", 0o755, 0, 0, xattrs={"user.x": "00"}),
    ],
)
def test_a_new_folder_that_is_not_plain_must_be_declared(trees: Trees, folder: TreeEntry) -> None:
    change, below = TreeChange("/srv/x", "added", None, folder), trees.added("/srv/x/new")
    with pytest.raises(StageError, match="added /srv/x\n"):
        trees.ship(spec(keep=("/srv/x/new",)), change, below)
    members = trees.ship(spec(keep=("/srv/x/new", "/srv/x")), change, below)
    assert members["/srv/x"].mode == folder.mode


@pytest.mark.parametrize("what", ["added", "changed", "removed"])
def test_an_undeclared_change_stops_the_build_and_is_shown(trees: Trees, what: str) -> None:
    path = "/etc/new" if what == "added" else "/etc/a"
    with pytest.raises(StageError) as caught:
        trees.ship(spec(keep=("/etc/other",)), getattr(trees, what)(path))
    shown = str(caught.value)
    assert f"{what} {path}" in shown
    assert "roles/director/role.yaml" in shown
    assert "keep: [{why: ..., paths: [...]}]" in shown
    assert ("-./etc/a" in shown) == (what != "added")


def test_a_change_of_mode_alone_is_a_change(trees: Trees) -> None:
    old = trees.old("/etc/a")
    looser = TreeEntry("file", 0o777, 0, 0, sha256=old.sha256)
    with pytest.raises(StageError, match="mode: 0644 -> 0777"):
        trees.ship(spec(), TreeChange("/etc/a", "changed", old, looser))


def test_a_device_node_cannot_ship(trees: Trees) -> None:
    node = TreeChange("/dev/x", "added", None, TreeEntry("block device", 0o600, 0, 0, device="8:0"))
    with pytest.raises(StageError, match="a block device cannot ship"):
        trees.ship(spec(keep=("/dev/x",)), node)


def test_changes_survive_being_written_and_read(trees: Trees, tmp_path: Path) -> None:
    changes = [trees.added("/etc/new"), trees.changed("/etc/b"), trees.removed("/etc/c")]
    save(changes, tmp_path / "changes")
    assert load(tmp_path / "changes") == changes
