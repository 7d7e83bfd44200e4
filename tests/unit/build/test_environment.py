"""What the user has in the environment reaches no program that shapes bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.build import packer, tree
from lvslab.build import tools as the_tools
from lvslab.build.lockfile import Package
from lvslab.build.mirror import Mirrors
from lvslab.build.pool import Pool
from lvslab.build.tools import Tools
from lvslab.core.events import silent
from lvslab.core.files import sha256_file
from lvslab.core.procs import run
from lvslab.reproduce import choose


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """Fake programs in the PATH that note their environment; a user with settings of all kinds."""
    note, programs = tmp_path / "environment", tmp_path / "bin"
    programs.mkdir()
    for name in ("dpkg-deb", "mmdebstrap"):
        (programs / name).write_text(f"#!/bin/sh\n/usr/bin/env >{note}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("http_proxy", "http://proxy.example")
    for name, value in choose(tmp_path, 1).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LD_PRELOAD", "")

    def environment() -> dict[str, str]:
        return dict(line.split("=", 1) for line in note.read_text().splitlines())

    return environment


def work_of(step: str, work: Path) -> None:
    """One of the steps that shape bytes, with the fake programs."""
    pool = Pool(work / "pool", Mirrors({}), offline=True)
    file = work / "file"
    file.write_text("deb\n")
    package = Package("a", "1", "amd64", sha256_file(file), 4, "debian", "pool/main/a_1.deb")
    target = pool.path(package)
    target.parent.mkdir(parents=True)
    target.write_text("deb\n")
    if step == "tools":
        the_tools.unpack(pool, [package], work, lambda *_: None)
    elif step == "a tool":
        loader = work / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        loader.parent.mkdir(parents=True)
        loader.write_text(f"#!/bin/sh\n/usr/bin/env >{work / 'environment'}\n")
        loader.chmod(0o755)
        (work / "usr/bin").mkdir()
        (work / "usr/bin/mke2fs").touch()
        Tools(work, 7)("mke2fs")
    elif step == "stanzas":
        tree.stanzas(pool, [package])
    else:
        files = work / "files"
        files.mkdir()
        recipe = tree.Recipe("trixie", 7, (), (), files, (), ())
        tree.make(pool, recipe, work / "tree.tar", silent, lambda *_: None)


@pytest.mark.parametrize("step", ["tools", "a tool", "stanzas", "tree"])
def test_no_setting_of_the_user_reaches_it(
    heard: Callable[[], dict[str, str]], tmp_path: Path, step: str
) -> None:
    work_of(step, tmp_path)
    environment = heard()
    for name in ("TAR_OPTIONS", "ZSTD_CLEVEL", "XZ_DEFAULTS", "PERL5OPT", "LD_PRELOAD", "LANG"):
        assert name not in environment
    assert environment.get("SOURCE_DATE_EPOCH", "7") == "7"
    assert environment.get("TZ", "UTC") == "UTC"
    assert environment.get("PYTHONDONTWRITEBYTECODE") == ("1" if step == "tree" else None)
    assert environment["http_proxy"] == "http://proxy.example"
    assert environment["PATH"].endswith(":/sbin")


def test_packer_is_unpacked_without_them(
    heard: Callable[[], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "get", lambda *_: [tmp_path / "packer.deb"])
    packer.unpack(Pool(tmp_path, Mirrors({})), tmp_path)
    assert "TAR_OPTIONS" not in heard()


def test_other_programs_get_the_user_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    words = ["sh", "-c", "echo $SSH_AUTH_SOCK $MORE"]
    assert run(words, what="asking", env={"MORE": "more"}) == "/agent more\n"
    assert run(words, what="asking") == "/agent\n"
