"""Where the project's own files are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder with `roles/`, `cloud-init/`, `packer/` and `lab.yaml`."""

ROLES = ROOT / "roles"
"""The folder of the project's roles."""

ROLE_FOLDERS = (ROLES, ROOT / "examples" / "roles")
"""Where a role's folder is looked for, in this order."""

COMMON = "common"
"""The folder beside the roles that is merged in front of each; no node has it."""

TEMPLATES = Path(__file__).resolve().parents[1] / "render" / "templates"
"""The templates that belong to the code, not to a role."""
