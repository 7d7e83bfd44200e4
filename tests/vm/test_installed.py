"""A fresh environment that has the wheel alone makes what the checkout makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lvslab.cli import release
from lvslab.core.places import DATA

pytestmark = pytest.mark.vm


def test_the_wheel_in_a_fresh_environment_makes_the_same_artifacts(
    built: Path, tmp_path: Path
) -> None:
    """The stages of the checkout's build are used again, so they have the same ids."""
    wheel = release.wheel(DATA, tmp_path / "wheel")
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run([place / "bin/pip", "install", "--quiet", wheel], check=True)
    program = place / "bin/lvslab"
    subprocess.run([program, "init", "lab"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [program, "images"], cwd=tmp_path / "lab", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ bake director (unchanged)" in done.stderr
    ours, theirs = (
        {
            line
            for line in (folder / "SHA256SUMS").read_text().splitlines()
            if not line.endswith(("build.json", "profile.svg"))  # have the seconds of stages
        }
        for folder in (built, tmp_path / "lab/artifacts")
    )
    assert theirs == ours
