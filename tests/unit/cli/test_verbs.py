"""The verbs that need no virtual machine, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from lvslab.cli import clean, main
from lvslab.cli.common import Session
from lvslab.core import programs
from lvslab.core.files import only_one
from lvslab.core.stages import record_of
from lvslab.formats.seed_iso import write_iso
from lvslab.model.load import every_role, load_lab
from lvslab.render import node_seed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LVSLAB_CACHE", str(folder))
    return folder


def test_render_writes_every_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "texts"
    assert main.main(["render", str(out)]) == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert capsys.readouterr().out == f"{len(files)} texts in {out}\n"
    conf = (out / "roles/director/root/etc/keepalived/keepalived.conf").read_text()
    assert "192.168.50.1/24" in conf
    assert (out / "seeds/rs2/network-config").is_file()
    before = {path: path.read_bytes() for path in files}
    assert main.main(["render", str(out)]) == 0
    assert {path: path.read_bytes() for path in files} == before


def test_render_of_a_bad_lab_writes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "lab.yaml"
    bad.write_text("nodes: {}\n")
    assert main.main(["render", "--lab", str(bad), str(tmp_path / "texts")]) == 2
    assert not (tmp_path / "texts").exists()


def test_lock_shows_what_is_locked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["lock", "--json"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    packages = [o for o in objects if o["event"] == "package"]
    assert {"keepalived", "apache2", "linux-image-amd64"} <= {p["name"] for p in packages}
    assert all(len(p["sha256"]) == 64 and p["version"] and p["size"] > 0 for p in packages)
    assert {p["group"] for p in packages} <= {"base", "tools", *every_role()}


@pytest.mark.parametrize("group", ["setup", "images"])
def test_a_missing_program_is_status_3(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an ordinary user on a host that has nothing: the one command, and nothing is begun."""
    monkeypatch.setattr(programs.Need, "met", lambda _self: False)
    monkeypatch.setattr(programs, "has_apt", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = ["images", "--out", str(tmp_path / "out")] if group == "images" else ["setup"]
    assert main.main(words) == 3
    shown = capsys.readouterr()
    assert "error: to make the images, this host needs: dpkg mmdebstrap mount uidmap " in shown.err
    assert (
        "  to fix it: sudo apt-get update && sudo apt-get install --no-install-recommends -y "
        "dpkg mmdebstrap mount uidmap debian-archive-keyring qemu-system-x86 qemu-utils "
        "openssh-client\n"
    ) in shown.err
    assert shown.out == ""


def test_setup_of_a_host_that_has_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs.Need, "met", lambda _self: True)
    assert main.main(["setup", "--for", "test"]) == 0
    wanted = "this host has all that is needed to run the whole test suite\n"
    assert capsys.readouterr().out == wanted


@pytest.fixture
def rs1_iso(tmp_path: Path) -> Path:
    lab = load_lab(ROOT / "lab.yaml")
    path = tmp_path / "rs1.iso"
    write_iso(node_seed(lab, "rs1"), path, epoch=1_700_000_000)
    return path


def test_verify_takes_a_seed_of_ours(rs1_iso: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "--lab", str(ROOT / "lab.yaml"), str(rs1_iso)]) == 0
    assert re.fullmatch(r"\d+ pass, 0 warn, 0 fail, 0 skip\n", capsys.readouterr().out)


def test_verify_refuses_the_seed_of_another_node(
    rs1_iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = rs1_iso.rename(rs1_iso.with_name("rs2.iso"))
    assert main.main(["verify", "--json", "--lab", str(ROOT / "lab.yaml"), str(wrong)]) == 1
    shown = capsys.readouterr()
    *findings, error, end = (json.loads(line) for line in shown.out.splitlines())
    assert {"pass", "fail"} == {finding["outcome"] for finding in findings}
    assert error["status"] == end["status"] == 1
    assert re.match(r"error: \d+ of \d+ rules are broken \(", shown.err)


def test_verify_of_what_is_not_an_ova(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junk = tmp_path / "junk.ova"
    junk.write_text("junk")
    assert main.main(["verify", str(junk)]) == 1
    assert "✗ junk.ova: tar-format: " in capsys.readouterr().out


def test_verify_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", str(tmp_path / "none.ova")]) == 2
    assert "none.ova: there is no such file" in capsys.readouterr().err


def documented() -> list[list[str]]:
    """Every command line with build.py in the README and in the help's examples."""
    texts = [(ROOT / "README.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()]
    for name in main.VERBS:
        command = main.app.get_command(click.Context(main.app), name)
        assert command is not None
        texts.append(command.epilog or "")
    lines = re.findall(r"^ +python3 build\.py (.+)$", "\n".join(texts), re.M)
    return [shlex.split(re.split(r" >| && | \|", line)[0], comments=True) for line in lines]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_documented_commands_are_understood(words: list[str]) -> None:
    """Parsed for real, down to the last group, but not run."""
    command: click.Command | None = main.app
    context = click.Context(main.app)
    while isinstance(command, click.Group):
        name, *words = [*words, "--help"] if words == [] else words
        if name == "--help":
            return
        command = command.get_command(context, name)
        assert command is not None, f"there is no verb {name}"
    assert command is not None
    try:
        command.make_context(command.name, words, obj=Session())
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # the user's own file
            raise


def fill(cache: Path) -> None:
    """A cache with two versions of a stage, a leftover and a file that is not ours."""
    for age, name in enumerate(("new", "old")):
        folder = cache / "stages/bake-director" / name
        folder.mkdir(parents=True)
        (folder / "disk.raw").write_bytes(b"x" * 1_000_000)
        os.utime(folder, (2_000_000_000 - age, 2_000_000_000 - age))
    (cache / "tmp/half").mkdir(parents=True)
    (cache / "pool").mkdir()
    (cache / "pool/a.deb").write_bytes(b"x" * 1_000_000)
    (cache / "mine").touch()
    (cache / "digests.json").touch()


def test_clean_shows_sizes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(cache)
    assert main.main(["clean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*clean.PARTS, "all"]
    assert lines[-1].split() == ["all", "3.0", "MB", str(cache)]
    assert (cache / "tmp/half").exists()


def test_clean_stale_keeps_the_newest_and_what_somebody_works_in(cache: Path) -> None:
    fill(cache)
    at_work = cache / f"tmp/disk-0123-{os.getpid()}"
    at_work.mkdir()
    assert main.main(["clean", "--stale"]) == 0
    assert [path.name for path in (cache / "stages/bake-director").iterdir()] == ["new"]
    assert not (cache / "tmp/half").exists()
    assert at_work.exists()
    assert (cache / "pool/a.deb").exists()


def test_clean_all_takes_only_what_is_ours(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(cache)
    assert main.main(["clean", "--all"]) == 0
    assert capsys.readouterr().out == f"3.0 MB freed in {cache}\n"
    assert sorted(path.name for path in cache.iterdir()) == ["lock", "mine"]


def test_clean_waits_for_no_build(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(cache)
    with only_one(cache / "lock", "build"):
        assert main.main(["clean", "--all"]) == 4
    assert f"another build is at work (process {os.getpid()})" in capsys.readouterr().err
    assert (cache / "pool/a.deb").exists()


def test_clean_wants_one_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["clean", "--all", "--stale"]) == 2
    assert "--stale and --all were given" in capsys.readouterr().err


def test_stale_stages_are_walked_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache)
    walked: list[str] = []
    measured = clean.size

    def size(path: Path) -> int:
        walked.append(path.name)
        return measured(path)

    monkeypatch.setattr(clean, "size", size)
    right = sum(map(measured, clean.stale_parts(cache)))
    assert right >= 1_000_000
    assert clean.stale_bytes(cache) == right
    assert walked.count("old") == 1
    assert clean.stale_bytes(cache) == right
    assert walked.count("old") == 1
    newest = cache / "stages/bake-director/newest"
    newest.mkdir()
    os.utime(newest, (2_000_000_001, 2_000_000_001))
    assert clean.stale_bytes(cache) == sum(map(measured, clean.stale_parts(cache))) > right
    (cache / "notes/sizes.json").write_text("no longer what was written")
    assert clean.stale_bytes(cache) == sum(map(measured, clean.stale_parts(cache)))


def test_size_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    one = clean.size(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert clean.size(tmp_path) == one
    shutil.copy(tmp_path / "a", tmp_path / "c")
    assert clean.size(tmp_path) == 2 * one


@pytest.fixture
def lab_state(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a lab that runs on the older of two raw disks; the folder of that disk."""
    fill(cache)
    used = cache / "stages/bake-director/old"
    record_of(used).touch()
    record_of(cache / "stages/bake-director/new").touch()
    state = tmp_path / "state"
    monkeypatch.setenv("LVSLAB_STATE", str(state))
    (state / "class/lvs1").mkdir(parents=True)
    (state / "class/lvs1/base.json").write_text(json.dumps(str(used / "disk.raw")))
    return used


@pytest.mark.parametrize("choice", ["--all", "--stale"])
def test_clean_keeps_the_disks_of_a_lab(
    cache: Path, lab_state: Path, capsys: pytest.CaptureFixture[str], choice: str
) -> None:
    assert main.main(["clean", choice]) == 0
    assert "kept: bake-director, which the lab class uses\n" in capsys.readouterr().out
    assert (lab_state / "disk.raw").stat().st_size == 1_000_000
    assert record_of(lab_state).exists()
    new = cache / "stages/bake-director/new"
    assert new.exists() == record_of(new).exists() == (choice == "--stale")
    assert (cache / "pool").exists() == (choice == "--stale")
    shutil.rmtree(lab_state.parents[3] / "state")  # as `lab down` does
    assert main.main(["clean", choice]) == 0
    assert not lab_state.exists()
    assert not record_of(lab_state).exists()


def test_clean_keeps_what_a_program_reads(
    cache: Path,
    lab_state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A lab whose LVSLAB_STATE is unknown here."""
    monkeypatch.setenv("LVSLAB_STATE", str(cache / "elsewhere"))
    with (lab_state / "disk.raw").open():
        assert main.main(["clean", "--all"]) == 0
        assert f"kept: bake-director, which process {os.getpid()} uses\n" in capsys.readouterr().out
        assert lab_state.exists()
    assert main.main(["clean", "--all"]) == 0
    assert not lab_state.exists()


def test_a_state_that_is_damaged_stops_no_clean(cache: Path, lab_state: Path) -> None:
    for kept in (cache.parent / "state").rglob("base.json"):
        kept.write_text("{")
    assert main.main(["clean", "--all"]) == 0
