"""The documentation as a site: whole, searchable, without network; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lvslab.cli import docs, main
from lvslab.core.errors import StageError
from lvslab.model.schema import lab_schema, role_schema
from lvslab.render.reference import schema_page
from tests.programs import build_py

# The parser of Markdown uses a name that a later Sphinx will not have; that is theirs to change.
pytestmark = pytest.mark.filterwarnings("ignore:'myst_parser")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    done = build_py("docs", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_every_page_is_in_the_table_of_contents(site: Path) -> None:
    index = (site / "index.html").read_text()
    pages = [path for path in site.rglob("*.html") if path.name not in ("genindex.html",)]
    assert len(pages) > 18
    for page in pages:
        name = page.relative_to(site).as_posix()
        assert name in ("index.html", "search.html") or f'href="{name}"' in index, name


@pytest.mark.slow
def test_no_page_needs_the_network(site: Path) -> None:
    """What a browser fetches by itself is in the site; links to follow may lead elsewhere."""
    fetched = re.compile(r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"')
    found = [
        next(filter(None, match))
        for page in site.rglob("*.html")
        for match in fetched.findall(page.read_text())
    ]
    assert len(found) > 100
    assert [url for url in found if "//" in url and not url.startswith("data:")] == []


@pytest.mark.slow
def test_the_site_can_be_searched(site: Path) -> None:
    assert "gratuit" in (site / "searchindex.js").read_text()


@pytest.mark.slow
def test_every_verb_is_there_with_its_help(site: Path) -> None:
    verbs = (site / "docs/verbs.html").read_text()
    for name in (*main.VERBS, "lab failover", "vmware patch"):
        assert f"<h2>{name}<" in verbs, name
    assert "python3 build.py lab failover crash stop" in re.sub(r"<[^>]+>", "", verbs)


@pytest.mark.parametrize(("name", "schema"), [("lab", lab_schema()), ("role", role_schema())])
def test_every_key_of_a_file_is_in_its_reference(name: str, schema: dict[str, object]) -> None:
    page = schema_page(name, schema)
    parts = [schema, *schema["$defs"].values()]  # type: ignore[attr-defined]
    keys = {key for part in parts for key in part.get("properties", ())}
    assert len(keys) > 15
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page] == []


def test_a_value_of_either_family_is_said_in_words() -> None:
    page = schema_page("lab", lab_schema())
    (row,) = [line for line in page.splitlines() if line.startswith("| `cidr` |")]
    assert "IPv4 network or IPv6 network or list of IPv4 network or IPv6 network" in row


@pytest.mark.slow
def test_links_that_lead_nowhere_are_errors(tmp_path: Path) -> None:
    source = tmp_path / "source"
    docs._gather(source)
    for name, link in (("build.md", "nowhere.md"), ("lab.md", "glossary.md#no-such-term")):
        with (source / "docs" / name).open("a") as page:
            page.write(f"\n[x]({link})\n")
    with pytest.raises(StageError, match="the documentation has faults") as raised:
        docs._build(source, tmp_path / "site")
    faults = str(raised.value)
    assert "build.md" in faults and "nowhere.md" in faults
    assert "lab.md" in faults and "no-such-term" in faults
