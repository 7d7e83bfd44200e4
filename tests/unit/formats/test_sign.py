"""Signatures of SHA256SUMS with real keys: right, stale, forged, unknown and missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.cli.main import main
from lvslab.core import procs
from lvslab.core.errors import CheckFailed, InputError, MissingError
from lvslab.formats import sign, sums
from lvslab.formats.seed_iso import write_iso
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.verify import Outcome, verify
from tests.appliance import write_sums


def ssh_key(path: Path, *more: str) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path), *more]
    subprocess.run(words, check=True)
    return path


def allow(path: Path, key: Path, name: str = "teacher@example.org", options: str = "") -> Path:
    public = key.with_suffix(".pub").read_text()
    path.write_text(f"{name} {options} {public}")
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return ssh_key(tmp_path / "key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "build.json").write_text("{}\n")
    write_sums(folder, [folder / "build.json"])
    return folder


def test_a_signed_folder_names_its_signer(folder: Path, key: Path, tmp_path: Path) -> None:
    assert sign.sign(folder, str(key)) == folder / sign.SSH
    assert sign.signer(folder, allow(tmp_path / "who", key)) == "teacher@example.org"


def test_the_next_build_drops_the_signature_of_the_last(folder: Path, key: Path) -> None:
    sign.sign(folder, str(key))
    assert sign.sign(folder, None) is None
    assert not (folder / sign.SSH).exists()


def test_other_sums_than_were_signed_are_refused(folder: Path, key: Path, tmp_path: Path) -> None:
    sign.sign(folder, str(key))
    (folder / "build.json").write_text("{ }\n")
    write_sums(folder, [folder / "build.json"])
    with pytest.raises(CheckFailed, match="not the sums that teacher@example.org signed"):
        sign.signer(folder, allow(tmp_path / "who", key))


def test_a_key_that_is_not_in_the_list_is_refused(folder: Path, key: Path, tmp_path: Path) -> None:
    sign.sign(folder, str(key))
    other = ssh_key(tmp_path / "other")
    with pytest.raises(CheckFailed, match="signed by nobody in the list"):
        sign.signer(folder, allow(tmp_path / "who", other))


def test_a_signature_for_another_purpose_is_refused(
    folder: Path, key: Path, tmp_path: Path
) -> None:
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "git", sums.NAME]
    subprocess.run(words, cwd=folder, check=True)
    with pytest.raises(CheckFailed, match="not the sums"):
        sign.signer(folder, allow(tmp_path / "who", key))


def test_a_signature_that_is_not_a_signature_is_refused(
    folder: Path, key: Path, tmp_path: Path
) -> None:
    (folder / sign.SSH).write_text("me, honestly\n")
    with pytest.raises(CheckFailed, match="signed by nobody in the list"):
        sign.signer(folder, allow(tmp_path / "who", key))


def test_no_signature_is_not_a_good_signature(folder: Path, key: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="nobody signed"):
        sign.signer(folder, allow(tmp_path / "who", key))


def test_a_key_that_cannot_sign_is_the_users_mistake(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key\n")
    with pytest.raises(InputError, match="signing") as caught:
        sign.sign(folder, str(tmp_path / "key"))
    assert "ssh-add" in caught.value.hint


def test_verify_says_who_signed(folder: Path, key: Path, tmp_path: Path) -> None:
    signers = allow(tmp_path / "who", key)

    def outcome(signers: Path | None) -> tuple[Outcome, str]:
        (found,) = (f for f in verify(folder, signers=signers) if f.rule.id == "sums-signed")
        return found.outcome, found.sentence

    assert outcome(None) == (Outcome.SKIP, "not looked at: no signers were given")
    assert outcome(signers)[0] is Outcome.FAIL
    sign.sign(folder, str(key))
    assert outcome(signers) == (Outcome.PASS, "signed by teacher@example.org")
    (folder / sums.NAME).write_text("")
    assert outcome(signers)[0] is Outcome.FAIL


def broken(path: Path, signers: Path) -> dict[str, str]:
    """The rules of sums and signatures that a path breaks, with what is said of it."""
    found = (f for f in verify(path, signers=signers) if f.rule.id.startswith(("sums-", "part-")))
    return {f.rule.id: f.sentence for f in found if f.outcome is not Outcome.PASS}


@pytest.fixture
def seeds(folder: Path, lab: Lab, key: Path) -> Path:
    """The folder of one seed, below artifacts that are signed."""
    write_iso(node_seed(lab, "rs1"), folder / "seeds/rs1.iso", epoch=1)
    write_sums(folder, sums.artifacts(folder))
    sign.sign(folder, str(key))
    return folder / "seeds"


def test_a_file_and_a_subfolder_are_vouched_for_by_the_sums_above(
    seeds: Path, key: Path, tmp_path: Path
) -> None:
    signers = allow(tmp_path / "who", key)
    for path in (seeds.parent, seeds, seeds / "rs1.iso"):
        assert broken(path, signers) == {}
    ids = {f.rule.id for f in verify(seeds / "rs1.iso", signers=signers)}
    assert {"part-signed", "part-sums"} <= ids


@pytest.mark.parametrize("name", ["", "rs1.iso"])
def test_what_has_no_sums_has_nobody_who_vouches(
    seeds: Path, key: Path, tmp_path: Path, name: str
) -> None:
    signers = allow(tmp_path / "who", key)
    (seeds.parent / sums.NAME).unlink()
    assert broken(seeds / name, signers) == {
        "part-signed": "there is no SHA256SUMS in its folder or above: nobody vouches for it",
        "part-sums": "not looked at: there is no SHA256SUMS",
    }
    words = ["verify", "--signers", str(signers), str(seeds / name)]
    assert main([word for word in words if word]) == 1


@pytest.mark.parametrize("name", ["", "rs1.iso"])
def test_a_file_that_is_not_what_was_signed_is_refused(
    seeds: Path, key: Path, tmp_path: Path, name: str
) -> None:
    signers = allow(tmp_path / "who", key)
    with (seeds / "rs1.iso").open("ab") as file:
        file.write(b"more")
    assert "the sums say" in broken(seeds / name, signers)["part-sums"]
    (seeds / "rs1.iso").rename(seeds / "rs2.iso")
    path = seeds / name.replace("1", "2")
    assert broken(path, signers) == {"part-sums": "seeds/rs2.iso has no sum"}
    sign.sign(seeds.parent, None)
    assert "nobody signed" in broken(path, signers)["part-signed"]


@pytest.fixture
def gpg_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    yield home
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_gpg_signs_too(folder: Path, gpg_home: Path) -> None:
    make = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key"]
    subprocess.run([*make, "Teacher <teacher@example.org>", "ed25519", "sign"], check=True)
    ring = gpg_home / "ring.gpg"
    subprocess.run(["gpg", "--batch", "--output", str(ring), "--export", "teacher"], check=True)
    sign.sign(folder, "teacher@example.org")
    assert sign.signer(folder, ring) == "Teacher <teacher@example.org>"
    (folder / sums.NAME).write_text("")
    with pytest.raises(CheckFailed, match="no key of the keyring"):
        sign.signer(folder, ring)
    with pytest.raises(InputError, match="signing"):
        sign.sign(folder, "stranger@example.org")


def test_a_program_that_is_not_installed_is_not_a_bad_signature(
    folder: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 13 has gpg without gpgv: then nothing is known of the signature."""
    signers = allow(tmp_path / "who", key)
    sign.sign(folder, str(key))
    monkeypatch.setattr(procs, "search_path", lambda: str(tmp_path / "empty"))
    with pytest.raises(MissingError, match="ssh-keygen is not installed"):
        sign.signer(folder, signers)
    (folder / sign.SSH).rename(folder / sign.GPG)
    with pytest.raises(MissingError, match="gpgv is not installed"):
        sign.signer(folder, signers)
    with pytest.raises(MissingError, match="gpg is not installed"):
        sign.sign(folder, "teacher@example.org")


def test_a_list_of_signers_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file") as caught:
        verify(folder, signers=tmp_path / "who")
    assert caught.value.where.startswith("--signers")
