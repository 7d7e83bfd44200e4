"""The wheel: everything is inside, and it works from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lvslab import __version__
from lvslab.cli import release
from lvslab.core.places import DATA, ROLES
from lvslab.make import provenance
from tests.packages import unpacked
from tests.sources import our_files

pytestmark = pytest.mark.slow  # builds a wheel and installs it

FOLDERS = ("roles", "cloud-init", "packer", "examples", "lessons")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release.wheel(DATA, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of packages that has the wheel, installed as pip does."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", folder, wheel], check=True)
    return folder


def lvslab(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "lvslab.cli", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_file_of_the_project_that_a_build_needs_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    names = {path.relative_to(DATA).as_posix() for path in our_files()}
    wanted = {f"lvslab/data/{name}" for name in names if name.startswith(FOLDERS)}
    wanted |= {name for name in names if name.startswith("lvslab/")}
    assert len(wanted) > 200
    assert wanted <= inside
    assert not any("tests/" in name or "__pycache__" in name for name in inside)


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    project = unpacked(release.sdist(DATA, tmp_path / "sdist"), tmp_path / "project")
    again = release.wheel(project, tmp_path / "wheel")
    assert again.name == wheel.name == f"lvslab-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {n: one.read(n) for n in one.namelist()} == {
            n: other.read(n) for n in other.namelist()
        }


def test_an_installed_package_is_the_checkout_for_all_that_decides_the_artifacts(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from lvslab.make import provenance; from lvslab.core.places import DATA; "
        "print(provenance.source(DATA).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == provenance.source(DATA).sha256


def test_a_folder_of_one_s_own(installed: Path, tmp_path: Path) -> None:
    done = lvslab(installed, tmp_path, "init", "my lab")
    assert done.returncode == 0, done.stderr
    assert "  cd 'my lab'\n  lvslab validate\n  lvslab images\n" in done.stdout
    folder = tmp_path / "my lab"
    assert [path.name for path in folder.iterdir()] == ["lab.yaml"]
    done = lvslab(installed, folder, "validate")
    assert done.stdout.endswith("lab.yaml: no error\n"), done.stdout + done.stderr
    again = lvslab(installed, tmp_path, "init", "my lab")
    assert (again.returncode, "there is a lab already" in again.stderr) == (2, True)


def test_an_example_and_one_that_does_not_exist(installed: Path, tmp_path: Path) -> None:
    assert lvslab(installed, tmp_path, "init", "x", "--example", "dns").returncode == 0
    assert lvslab(installed, tmp_path / "x", "validate").returncode == 0
    done = lvslab(installed, tmp_path, "init", "y", "--example", "nds")
    assert (done.returncode, "the examples are: " in done.stderr) == (2, True)
    assert not (tmp_path / "y").exists()


def test_a_role_of_one_s_own_beside_the_lab(installed: Path, tmp_path: Path) -> None:
    lvslab(installed, tmp_path, "init", "x")
    role = tmp_path / "x/roles/quiet"
    role.mkdir(parents=True)
    text = (ROLES / "real-server/role.yaml").read_text()
    (role / "role.yaml").write_text(text.replace("name: real-server", "name: quiet"))
    lab = tmp_path / "x/lab.yaml"
    lab.write_text(lab.read_text().replace("role: real-server", "role: quiet"))
    done = lvslab(installed, tmp_path / "x", "validate")
    assert "quiet: rs1, rs2" in done.stdout, done.stdout + done.stderr


def test_what_belongs_to_a_checkout_says_so(installed: Path, tmp_path: Path) -> None:
    done = lvslab(installed, tmp_path, "test")
    assert (done.returncode, "do it in a checkout" in done.stderr) == (2, True)
