"""build.py on a fresh machine: the Python packages, the host's programs, and what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core import programs, venv
from lvslab.core.errors import MissingError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


def copy_of_the_project(to: Path, *, lock: str | None = None) -> Path:
    """The project as a clone has it; `lock` replaces the packages by fewer."""
    to.mkdir(exist_ok=True)
    shutil.copytree(ROOT / "lvslab", to / "lvslab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build.py", "lab.yaml", "requirements.lock", "requirements-test.lock"):
        shutil.copy(ROOT / name, to / name)
    if lock is not None:
        (to / "requirements.lock").write_text(lock)
    return to


def build_py(
    project: Path, *words: str, cache: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASE_PYTHON, project / "build.py", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LVSLAB_CACHE": str(cache), **environment},
    )


def test_a_fresh_clone_prepares_itself_once(tmp_path: Path) -> None:
    project, cache = copy_of_the_project(tmp_path / "a clone"), tmp_path / "its cache"
    first = build_py(project, "--version", cache=cache)
    assert (first.returncode, first.stderr) == (0, "preparing the Python packages, once\n")
    assert first.stdout.startswith("lvslab, version ")
    second = build_py(project, "completion", "bash", cache=cache)
    assert (second.returncode, second.stderr) == (0, "")
    (place,) = (path for path in (cache / "venv").iterdir() if path.is_dir())
    imported = "import click, deflate, jinja2, packer, pycdlib, pydantic, rich, yaml"
    subprocess.run([venv.python(place), "-c", imported], check=True)
    assert not list(project.rglob("*.egg-info"))


@pytest.fixture
def for_everybody() -> Iterator[Path]:
    """A folder that other users can enter (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def no_packages(tmp_path: Path) -> Path:
    """A project whose lock is empty, so that its environment is made fast and without network."""
    return copy_of_the_project(tmp_path / "project", lock="# nothing\n")


def test_two_runs_at_once_make_one_environment(no_packages: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    runs = [
        subprocess.Popen(
            [BASE_PYTHON, no_packages / "build.py", "--version"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LVSLAB_CACHE": str(cache)},
        )
        for _ in range(3)
    ]
    said = [run.communicate(timeout=300)[1] for run in runs]
    assert sum("preparing the Python packages, once" in text for text in said) == 1
    # all three were handed over to that environment, which has no click
    assert all("No module named 'click'" in text for text in said)
    assert len([path for path in (cache / "venv").iterdir() if path.is_dir()]) == 1


def test_where_python_leaves_no_bytecode_it_is_in_the_cache(
    no_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # of a run of all tests
    cache = tmp_path / "cache"

    def compiled() -> tuple[int, int]:
        done = build_py(no_packages, "--version", cache=cache)
        assert "No module named 'click'" in done.stderr
        return len(list(no_packages.rglob("main.*.pyc"))), len(list(cache.rglob("cli/main.*.pyc")))

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert compiled() == (0, 1)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    assert compiled() == (1, 1)


def test_a_half_made_environment_is_made_again(no_packages: Path, tmp_path: Path) -> None:
    lock = no_packages / "requirements.lock"
    place = venv.folder(tmp_path / "cache", lock)
    (place / "bin").mkdir(parents=True)
    venv.python(place).symlink_to(sys.executable)
    (place / "left over").touch()
    said: list[str] = []
    assert not venv.ready(place)
    assert venv.ensure(tmp_path / "cache", lock, said.append) == place
    assert said == ["preparing the Python packages, once"]
    assert venv.ready(place)
    assert not (place / "left over").exists()
    venv.ensure(tmp_path / "cache", lock, said.append)
    assert len(said) == 1
    # the Python that it was made of has gone
    venv.python(place).unlink()
    venv.python(place).symlink_to("/nonexistent/python3")
    assert not venv.ready(place)


def test_another_lock_is_another_environment(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("a==1\n")
    one = venv.folder(tmp_path, lock)
    lock.write_text("a==2\n")
    assert venv.folder(tmp_path, lock) != one


def test_packages_that_no_index_has(tmp_path: Path) -> None:
    lock = "setuptools==1.0 --hash=sha256:" + "0" * 64 + "\n"
    project = copy_of_the_project(tmp_path / "project", lock=lock)
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    done = build_py(project, "images", cache=tmp_path / "cache", **nowhere)
    assert done.returncode == 3
    assert "error: the Python packages cannot be installed:" in done.stderr
    assert "No matching distribution found for setuptools==1.0" in done.stderr
    assert "to fix it: check the network, the free disk space and pip's settings" in done.stderr
    assert f"full log:  {tmp_path}/cache/log/venv.log" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    """A wheel of ours whose hash is not the lock's: pip must not install it."""
    wheel = tmp_path / "setuptools-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\x05\x06" + bytes(18))
    lock = tmp_path / "lock"
    lock.write_text(f"setuptools==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(tmp_path))
        with pytest.raises(MissingError) as raised:
            venv.ensure(tmp_path / "cache", lock, lambda _: None)
    assert raised.value.log is not None
    assert "DO NOT MATCH THE HASHES" in raised.value.log.read_text()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = build_py(ROOT, "images", cache=tmp_path / "file")
    assert done.returncode == 3
    assert done.stderr.startswith("error: [Errno ")
    assert "set LVSLAB_CACHE to a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_debian_has_is_missing_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.Need, "met", lambda self: False)
    for words, wanted in ((["debian"], True), (["ubuntu", "debian"], False)):
        monkeypatch.setattr(programs, "distribution", lambda words=words: words)
        packages = {need.package for need in programs.missing("test")}
        assert ("chromium" in packages) is wanted
        assert "mtools" in packages


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home(for_everybody: Path) -> None:
    project = copy_of_the_project(for_everybody / "project")
    done = subprocess.run(
        [
            *("setpriv", "--reuid=64999", "--regid=64999", "--clear-groups"),
            *("/usr/bin/env", "-i", "/usr/bin/python3", project / "build.py", "images"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == (
        "error: Could not determine home directory.\n  to fix it: set LVSLAB_CACHE to a folder\n"
    )


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 15, 0)])
def test_a_python_that_will_not_do(version: tuple[int, ...], tmp_path: Path) -> None:
    """The version is the only thing that is made up: not every host has such a Python."""
    code = (
        f"import sys, runpy; sys.version_info = {version!r}; "
        f"sys.argv = ['build.py', 'images']; runpy.run_path({str(ROOT / 'build.py')!r}, "
        "run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 3
    wanted = f"error: Python 3.11 to 3.14 is needed, this is {version[0]}.{version[1]}\n"
    assert done.stderr == wanted


def test_completion_prepares_nothing(tmp_path: Path) -> None:
    asked = {"_BUILD_PY_COMPLETE": "bash_complete", "COMP_WORDS": "build.py i", "COMP_CWORD": "1"}
    done = build_py(ROOT, cache=tmp_path / "cache", **asked)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "cache").exists()


# --- the programs of the host ---

NOTHING_FOUND = {
    "build": "dpkg mmdebstrap mount uidmap debian-archive-keyring qemu-system-x86 qemu-utils "
    "openssh-client",
    "lab": "uidmap qemu-system-x86 qemu-utils openssh-client iproute2 tcpdump ovmf",
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of Debian's family that has none of the programs, and a user who is not root."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(programs, "search_path", lambda: str(empty))
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    monkeypatch.setattr(programs, "has_apt", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("group", NOTHING_FOUND)
def test_a_user_is_given_one_command(group: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError) as raised:
        programs.ensure(group, lambda _: None, tmp_path / "log")
    error = raised.value
    assert error.status == 3
    wanted = NOTHING_FOUND[group]
    assert error.message == f"to {programs.GROUPS[group]}, this host needs: {wanted}"
    assert error.hint == (
        "sudo apt-get update && sudo apt-get install --no-install-recommends -y " + wanted
    )


@pytest.mark.usefixtures("bare")
def test_another_distribution_is_shown_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "has_apt", lambda: False)
    with pytest.raises(MissingError) as raised:
        programs.ensure("lab", lambda _: None, tmp_path / "log")
    assert raised.value.message == (
        "to start the lab in QEMU, this host needs: newuidmap, qemu-system-x86_64, qemu-img, "
        "ssh, ip, tcpdump, /usr/share/OVMF/OVMF_CODE_4M.fd"
    )
    assert raised.value.hint == "install them with this distribution's package manager"


@pytest.mark.usefixtures("bare")
def test_the_tests_need_all_that_the_rest_needs() -> None:
    needs = {name: {need.package for need in programs.missing(name)} for name in programs.GROUPS}
    assert needs["build"] | needs["lab"] < needs["test"]
    assert "uidmap" not in {need.package for need in programs.missing("test", root=True)}


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n', True),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', True),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', False),
        ("", False),
    ],
)
def test_debians_family(text: str, family: bool, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text(text)
    assert programs.has_apt(release) is family
    assert not programs.has_apt(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_real_user_without_rights(for_everybody: Path) -> None:
    """The table asked by uid 65534 with an empty PATH, by the system's Python, as build.py does."""
    copy_of_the_project(for_everybody / "project")
    code = (
        "import sys; from pathlib import Path; from lvslab.core import programs, errors, procs\n"
        "procs._SBIN = ()\n"
        "programs.NEEDS = tuple(n for n in programs.NEEDS if n.program[0] != '/')  # may be there\n"
        "try: programs.ensure('lab', print, Path('/nonexistent/log'))\n"
        "except errors.LabError as error: print(error); sys.exit(error.status)"
    )
    done = subprocess.run(
        [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("/usr/bin/env", "PATH=/nonexistent", "/usr/bin/python3", "-c", code),
        ],
        cwd=for_everybody / "project",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    packages = NOTHING_FOUND["lab"].removesuffix(" ovmf")
    assert done.stdout.splitlines() == [
        f"to start the lab in QEMU, this host needs: {packages}",
        "  to fix it: sudo apt-get update && sudo apt-get install --no-install-recommends -y "
        + packages,
    ]


APT = """#!/bin/sh
# stands in for apt-get, which a test must not use to change this machine
echo "$@" >> {calls}
case "$*" in
*update*) {update};;
*) [ -e {updated} ] || {{ echo "E: Unable to locate package"; exit 100; }};;
esac
"""


def stand_in_for_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: str) -> Path:
    calls, program = tmp_path / "calls", tmp_path / "bin/apt-get"
    program.parent.mkdir()
    program.write_text(
        APT.format(calls=calls, updated=tmp_path / "updated", update=update.format(tmp_path))
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


def test_root_installs_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in_for_apt(tmp_path, monkeypatch, update="touch {}/updated")
    said: list[str] = []
    programs.ensure_packages(["b", "a", "b"], "to test", said.append, tmp_path / "log/apt.log")
    assert said == [f"installing b a (log: {tmp_path}/log/apt.log)"]
    words = [line.split("600 ")[1] for line in calls.read_text().splitlines()]
    install = "install --no-install-recommends -y b a"
    assert words == [install, "update", install]


def test_root_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_apt(tmp_path, monkeypatch, update="echo no network {}; exit 100")
    with pytest.raises(MissingError) as raised:
        programs.ensure_packages(["a"], "to test", lambda _: None, tmp_path / "apt.log")
    assert "apt-get could not install a" in raised.value.message
    assert "no network" in raised.value.message
    assert raised.value.log == tmp_path / "apt.log"


def test_no_ensurepip_and_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's python3 without python3-venv has no module ensurepip."""
    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError) as raised:
        venv.ensure(tmp_path / "cache", lock, lambda _: None)
    assert raised.value.message == "to prepare itself, this host needs: python3-venv"
    assert raised.value.hint.endswith("--no-install-recommends -y python3-venv")
