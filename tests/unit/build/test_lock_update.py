"""`lock --update` against an archive of our own, signed by keys that live for the test.

The real apt asks it; nothing but the keyring that is trusted is another than in real use.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lvslab.build import lockfile as locks
from lvslab.build import mirror
from lvslab.build.lockfile import Lock
from lvslab.cli import lock as verb
from lvslab.cli.main import main
from lvslab.core.errors import StageError
from lvslab.model.lab import Lab
from lvslab.model.load import every_role
from lvslab.model.role import RoleSpec
from tests.strategies import variants

DATE = 1_790_000_000
# What apt says of a signature: up to 2 in gpgv's words, from 3 on in sqv's.
UNKNOWN_KEY = re.compile("NO_PUBKEY|Missing key [0-9A-F]{40}, which is needed")
CHANGED = re.compile("BADSIG|Message has been manipulated")
SUITES = (
    ("debian", "trixie"),
    ("debian", "trixie-updates"),
    ("debian-security", "trixie-security"),
)


def stanza(name: str, version: str, pool: str = "pool") -> str:
    digest = hashlib.sha256(f"{name}{version}".encode()).hexdigest()
    essential = "Essential: yes\n" if name == "base-files" else ""
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n{essential}"
        f"Maintainer: A <a@example.org>\nDescription: a package\n"
        f"Filename: {pool}/main/{name}_{version}_amd64.deb\nSize: 7\nSHA256: {digest}\n\n"
    )


@dataclass
class Archive:
    """A small archive in `folder` with all that our roles ask for; `home` has the keys."""

    folder: Path
    home: Path
    names: tuple[str, ...]

    def gpg(self, *words: str | Path) -> None:
        argv = ["gpg", "--batch", "--quiet", "--yes", "--homedir", self.home, *words]
        subprocess.run([str(word) for word in argv], check=True, capture_output=True)

    def key(self, name: str) -> Path:
        """A new key, and the keyring that has it alone."""
        made = ["--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never"]
        self.gpg("--passphrase", "", *made)
        self.gpg("--output", ring := self.home / f"{name}.gpg", "--export", f"{name}@example.org")
        return ring

    def suite(self, archive: str, suite: str) -> Path:
        return self.folder / archive / "dists" / suite

    def publish(self, *, fixed: str = "", valid: int = 86400, signed: str = "debian") -> None:
        """Write all indexes; `fixed` has a security update, `valid` is until when from now."""
        for archive, suite in SUITES:
            text = ""
            if suite == "trixie":
                text = "".join(stanza(name, "1") for name in self.names)
            elif suite == "trixie-security" and fixed:
                text = stanza(fixed, "2", "pool/updates")
            top = self.suite(archive, suite)
            index = top / "main/binary-amd64/Packages"
            index.parent.mkdir(parents=True, exist_ok=True)
            index.write_text(text)
            (top / "Release").write_text(self.release(suite, index, top, valid))
            if signed:
                user = ["--local-user", f"{signed}@example.org"]
                self.gpg(*user, "--clearsign", "--output", top / "InRelease", top / "Release")

    def release(self, suite: str, index: Path, top: Path, valid: int) -> str:
        data = index.read_bytes()
        until = email.utils.formatdate(time.time() + valid, usegmt=True)
        date = email.utils.formatdate(DATE if suite == "trixie" else DATE - 9, usegmt=True)
        row = f" {hashlib.sha256(data).hexdigest()} {len(data)} {index.relative_to(top)}\n"
        return (
            f"Origin: test\nSuite: {suite}\nCodename: {suite}\nDate: {date}\n"
            f"Valid-Until: {until}\nArchitectures: amd64\nComponents: main\nSHA256:\n{row}"
        )


@pytest.fixture
def archive(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archive]:
    """An archive whose key is the one that is trusted, and that knows a stranger's, too."""
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    asked = {name for spec in every_role().values() for name in spec.packages}
    names = tuple(sorted({"base-files", "apt", *asked, *locks.TOOLS}))
    made = Archive(tmp_path_factory.mktemp("archive"), home, names)
    monkeypatch.setattr(locks, "KEYRING", made.key("debian"))
    made.publish()
    yield made
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path


Roles = dict[str, RoleSpec]


def resolve(archive: Archive, lab: Lab, specs: Roles, work: Path, *, ignore: bool = False) -> Lock:
    work = work / "apt"
    shutil.rmtree(work, ignore_errors=True)
    found = mirror.find(f"file://{archive.folder}")
    return locks.resolve(lab, specs, found, work, ignore_valid_until=ignore)


@pytest.mark.slow
def test_what_is_signed_by_the_trusted_key_is_locked(
    archive: Archive, lab: Lab, specs: Roles, work: Path
) -> None:
    archive.publish(fixed="keepalived")
    lock = resolve(archive, lab, specs, work)
    assert lock.epoch == DATE
    base = {package.name: package for package in lock.groups["base"]}
    assert base["keepalived"].version == "2"
    assert base["keepalived"].archive == "debian-security"
    assert base["curl"].sha256 == hashlib.sha256(b"curl1").hexdigest()
    assert {package.name for package in lock.groups["tools"]} >= set(locks.TOOLS)
    assert {package.name for package in lock.groups["real-server"]} >= {"apache2"}


def refused(archive: Archive, lab: Lab, specs: Roles, work: Path) -> StageError:
    with pytest.raises(StageError) as caught:
        resolve(archive, lab, specs, work)
    return caught.value


def test_another_s_key_is_refused(archive: Archive, lab: Lab, specs: Roles, work: Path) -> None:
    archive.key("stranger")
    archive.publish(signed="stranger")
    error = refused(archive, lab, specs, work)
    assert UNKNOWN_KEY.search(error.message)
    assert "not signed by Debian" in error.hint


def test_an_unsigned_index_is_refused(archive: Archive, lab: Lab, specs: Roles, work: Path) -> None:
    for name in archive.folder.rglob("InRelease"):
        name.unlink()
    error = refused(archive, lab, specs, work)
    assert "is not signed" in error.message
    assert "not signed by Debian" in error.hint


def test_a_signed_release_that_was_changed_is_refused(
    archive: Archive, lab: Lab, specs: Roles, work: Path
) -> None:
    path = archive.suite("debian", "trixie") / "InRelease"
    path.write_text(path.read_text().replace("Origin: test", "Origin: evil"))
    error = refused(archive, lab, specs, work)
    assert CHANGED.search(error.message)
    assert "not signed by Debian" in error.hint


def test_an_index_that_was_changed_is_refused(
    archive: Archive, lab: Lab, specs: Roles, work: Path
) -> None:
    path = archive.suite("debian", "trixie") / "main/binary-amd64/Packages"
    path.write_text("".join(stanza(name, "1", "evil") for name in archive.names))
    error = refused(archive, lab, specs, work)
    assert "SHA256:" in error.message
    assert "Some index files failed to download" in error.message


@pytest.mark.slow
def test_an_expired_release_is_refused_unless_that_is_ignored(
    archive: Archive, lab: Lab, specs: Roles, work: Path
) -> None:
    archive.publish(valid=-86400)
    error = refused(archive, lab, specs, work)
    assert "expired" in error.message
    assert error.hint == "the mirror is behind; try another --mirror, or --ignore-valid-until"
    assert resolve(archive, lab, specs, work, ignore=True).epoch == DATE


def test_an_expired_release_of_a_stranger_is_refused_all_the_same(
    archive: Archive, lab: Lab, specs: Roles, work: Path
) -> None:
    archive.key("stranger")
    archive.publish(valid=-86400, signed="stranger")
    with pytest.raises(StageError, match=UNKNOWN_KEY) as caught:
        resolve(archive, lab, specs, work, ignore=True)
    assert "not signed by Debian" in caught.value.hint


# --- the verb, with a lock of its own


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr(verb, "WORK", root)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    return root / locks.FILE


def update(archive: Archive, *words: str) -> int:
    return main(["lock", "--update", "--mirror", f"file://{archive.folder}", *words])


@pytest.mark.slow
def test_changes_are_shown_before_they_are_written(
    archive: Archive,
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[str] = []
    save = locks.save

    def spy(new: Lock, path: Path) -> None:
        shown.append(capsys.readouterr().out)
        save(new, path)

    monkeypatch.setattr(locks, "save", spy)
    assert update(archive) == 0
    assert "keepalived" in shown[0]
    assert locks.load(lock).asked["tools"] == tuple(sorted(locks.TOOLS))
    archive.publish(fixed="keepalived")
    capsys.readouterr()
    before = lock.read_bytes()
    assert update(archive, "--dry-run") == 0
    said = capsys.readouterr().out
    assert said.endswith("1 changes, not written\n")
    assert (lock.read_bytes(), len(shown)) == (before, 1)
    assert update(archive) == 0
    (line,) = shown[1].splitlines()
    assert line.split() == ["base", "keepalived", "1", "→", "2", "security"]
    assert locks.load(lock).groups["base"] != ()
    assert update(archive) == 0
    assert capsys.readouterr().out.endswith("nothing has changed\n")


@pytest.mark.slow
def test_what_is_asked_for_otherwise_is_written_although_no_package_changes(
    archive: Archive, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that nobody names any more can still be what another depends on."""
    assert update(archive) == 0
    whole = lock.read_bytes()
    old = locks.load(lock)
    asked = {**old.asked, "director": (*old.asked["director"], "libc6")}
    locks.save(replace(old, asked=asked), lock)
    capsys.readouterr()
    assert update(archive) == 0
    assert capsys.readouterr().out == (
        "the roles or the tools ask for other packages than before\n"
        "0 changes, written to packages.lock\n"
    )
    assert lock.read_bytes() == whole


@pytest.mark.slow
def test_what_is_refused_leaves_the_lock_as_it_was(
    archive: Archive, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert update(archive) == 0
    before = lock.read_bytes()
    archive.key("stranger")
    archive.publish(fixed="keepalived", signed="stranger")
    assert update(archive) == 4
    assert UNKNOWN_KEY.search(capsys.readouterr().err)
    assert lock.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("text", variants("<<<<<<< ours\n", None, "", '{"packages": []}\n'))
def test_a_lock_that_cannot_be_read_is_made_again(
    archive: Archive, lock: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        lock.write_text(text)
    assert update(archive) == 0
    said = capsys.readouterr()
    assert "every package counts as new" in said.err
    assert " changes, written" in said.out
    assert locks.load(lock).epoch == DATE
