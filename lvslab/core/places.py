"""Where the project's own files are, in a checkout and when the package is installed; its cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

IN_CHECKOUT = (PACKAGE.parent / "build.py").is_file()
"""Whether this runs from a checkout; else from an installed package, which has all files inside."""

DATA = PACKAGE.parent if IN_CHECKOUT else PACKAGE / "data"
"""The folder with `roles/`, `lessons/`, `examples/`, `cloud-init/`, `packer/`, lab and locks."""

WORK = DATA if IN_CHECKOUT else Path()
"""Where a user's lab.yaml and artifacts/ are: the checkout, else the current folder."""

PROGRAM = "python3 build.py" if IN_CHECKOUT else "lvslab"
"""What a user types."""

LAB = "lab.yaml"

ROLES = DATA / "roles"
"""The folder of the project's roles."""

ROLE_FOLDERS = tuple(dict.fromkeys((WORK / "roles", ROLES, DATA / "examples" / "roles")))
"""Where a role's folder is looked for, in this order."""

REFERENCE = ROLES / "reference.yaml"
"""The lab that images are baked from, whatever lab a user has."""

COMMON = "common"
"""The folder beside the roles that is merged in front of each; no node has it."""

TEMPLATES = PACKAGE / "render" / "templates"
"""The templates that belong to the code, not to a role."""

EXAMPLES = DATA / "examples"
"""Labs that show one thing each: a folder with a lab.yaml for each."""

LESSONS = DATA / "lessons"
"""The lessons: a folder with a lesson.yaml and a sheet for each."""


def default_cache() -> Path:
    """`$LVSLAB_CACHE`, or `lvslab` in the user's cache folder (XDG Base Directory)."""
    if chosen := os.environ.get("LVSLAB_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lvslab"


def of_project(root: Path, name: str) -> Path:
    """A file or folder of the project at `root` by its name in a checkout, as `roles` or `lvslab`.

    If `root` is DATA of an installed package, `lvslab` is the package around it.
    """
    return PACKAGE if (root, name) == (DATA, PACKAGE.name) else root / name


def is_part(top: Path, path: Path) -> bool:
    """Whether a path below a part of the project is of it: neither DATA nor made by Python."""
    parts = path.relative_to(top).parts
    return "__pycache__" not in parts and not (top == PACKAGE and parts[:1] == ("data",))
