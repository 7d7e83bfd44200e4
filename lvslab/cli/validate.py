"""`validate`: lab.yaml and the roles, without making anything."""

from __future__ import annotations

from pathlib import Path

from lvslab.cli.common import lab_file, session, verb


@verb(
    "validate",
    """
    validate
    validate --lab my-lab.yaml
    """,
)
@lab_file
def validate(lab_path: Path) -> None:
    """Check lab.yaml and the roles: show all mistakes, and how to fix each.

    A warning means that the lab can be built, but may cause trouble on some hosts.
    """
    from lvslab.model import load

    lab, roles = load.load_all(lab_path)
    for role in roles:
        session().out(f"{role}: {', '.join(lab.nodes_with(role))}")
    for warning in load.warnings(lab_path):
        session().tell(f"warning: {warning}")
    session().out(f"{lab_path.name}: no error")
