"""`docs`: the documentation as a site that needs no network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import click

from lvslab.cli.common import demand_checkout, session, verb
from lvslab.core.errors import MissingError, StageError
from lvslab.core.files import remove
from lvslab.core.places import DATA, EXAMPLES, PROGRAM, WORK

_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "bench/RESULTS.md")
_EXAMPLES = tuple(
    sorted(f"examples/{lab.parent.name}/README" for lab in EXAMPLES.glob("*/lab.yaml"))
)
_ORDER = (
    ("Begin", ("README", "docs/build", "docs/import", "docs/troubleshooting", "docs/glossary")),
    (
        "The cluster",
        (
            "docs/article",
            "docs/services",
            "docs/ipv6",
            "docs/failover",
            "docs/watch",
            "docs/security",
            "docs/hosts",
            "docs/vmware",
            "docs/deploy",
            "docs/roles",
        ),
    ),
    ("Examples", _EXAMPLES),
    ("Lessons", ("docs/lessons", "docs/teachers", "docs/lesson-yaml")),
    ("Reference", ("docs/lab-yaml", "docs/role-yaml", "docs/verbs", "docs/verify")),
    (
        "The project",
        (
            "docs/architecture",
            "docs/decisions",
            "docs/reproducible",
            "bench/RESULTS",
            "CONTRIBUTING",
            "CHANGELOG",
        ),
    ),
)


@verb(
    "docs",
    """
    docs
    docs --out /srv/www/lvslab
    """,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=WORK / "artifacts" / "site",
    show_default="artifacts/site",
    help="The folder for the site.",
)
def docs(out: Path) -> None:
    """Make the documentation as HTML pages with a search, to read without network.

    A link that leads nowhere is an error.
    """
    demand_checkout("the pages of the documentation are not a part of the package")
    with tempfile.TemporaryDirectory() as name:
        source, made = Path(name) / "source", Path(name) / "site"
        _gather(source)
        _build(source, made)
        remove(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made, out)
    session().out(f"{out}/index.html: the documentation")
    session().emit("site", path=str(out / "index.html"))


def _gather(to: Path) -> None:
    """The pages where they are in the checkout, those that are made, and the table of contents."""
    from lvslab.model.schema import lab_schema, lesson_schema, role_schema
    from lvslab.render.reference import help_page, schema_page

    shutil.copytree(DATA / "docs", to / "docs")
    shutil.copytree(DATA / "examples", to / "examples")
    for name in _PAGES:
        (to / name).parent.mkdir(exist_ok=True)
        shutil.copy2(DATA / name, to / name)
    pages = {
        "docs/lab-yaml": schema_page("lab.yaml, key by key", lab_schema()),
        "docs/lesson-yaml": schema_page("lesson.yaml, key by key", lesson_schema()),
        "docs/role-yaml": schema_page("role.yaml, key by key", role_schema()),
        "docs/verbs": help_page(dict(_helps())),
        "index": _contents(),
    }
    for name, text in pages.items():
        (to / f"{name}.md").write_text(text)


def _helps(path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Each verb and its help, groups before their verbs."""
    from lvslab.cli.main import app

    command: click.Command = app
    context = click.Context(app, info_name=PROGRAM)
    for word in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command, context = found, click.Context(found, info_name=word, parent=context)
    if path:
        yield " ".join(path), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _helps((*path, name))


def _contents() -> str:
    parts = ["# lvslab", "", "![The lab](docs/lab.svg)", ""]
    for caption, pages in _ORDER:
        parts += ["```{toctree}", f":caption: {caption}", ":maxdepth: 1", "", *pages, "```", ""]
    return "\n".join(parts)


def _build(source: Path, out: Path) -> None:
    try:
        from sphinx.application import Sphinx
        from sphinx.errors import SphinxError
    except ImportError:
        raise MissingError(
            "Sphinx is not installed", hint="build.py test has it: pip install lvslab[test]"
        ) from None
    said = StringIO()
    settings = {
        "project": "lvslab",
        "extensions": ["myst_parser"],
        "html_theme": "furo",
        "html_title": "lvslab",
        "root_doc": "index",
        "exclude_patterns": ["examples/roles"],
        "myst_heading_anchors": 4,
        "suppress_warnings": ["misc.highlighting_failure"],
    }
    try:
        app = Sphinx(
            str(source), None, str(out), str(out.with_name("trees")), "html",
            confoverrides=settings, status=None, warning=said, freshenv=True,
        )  # fmt: skip
        app.build()
    except SphinxError as error:
        raise StageError(f"{error}\n{said.getvalue()}", where="docs") from None
    if warnings := said.getvalue().strip():
        raise StageError(f"the documentation has faults:\n{warnings}", where="docs")
