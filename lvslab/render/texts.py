"""How text is made: Jinja2 templates of the repository, an unknown name is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from lvslab.core.files import sha256_text
from lvslab.core.places import DATA, TEMPLATES
from lvslab.core.words import decimal


@dataclass(frozen=True)
class RenderedFile:
    """A text file of an image: its content and its permission bits."""

    content: str
    mode: int = 0o644


def files_as_json(files: Mapping[str, RenderedFile]) -> dict[str, dict[str, str]]:
    """Files as values of JSON: mode, sum (SHA-256) and content by path."""
    return {
        path: {
            "mode": f"{file.mode:04o}",
            "sha256": sha256_text(file.content),
            "content": file.content,
        }
        for path, file in files.items()
    }


@dataclass(frozen=True)
class Seed:
    """The three files of a NoCloud seed (cloud-init: datasource NoCloud)."""

    user_data: str
    meta_data: str
    network_config: str


class _Dumper(yaml.CSafeDumper):
    """YAML as a person writes it: texts of several lines as blocks.

    By libyaml, in C: PyYAML's own emitter looks at each character of all files of a role.
    """


def _represent_text(dumper: yaml.representer.SafeRepresenter, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(value: object) -> str:
    """A list or a mapping as YAML in block style, the order of keys kept."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    # The end of a document after a text that ends in empty lines; more may follow in a template.
    return text.removesuffix("...\n") if text.endswith("\n...\n") else text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([DATA, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: name is not None and name.endswith((".xml.j2", ".html.j2")),
    )
    environment.filters["yaml"] = to_yaml
    environment.filters["decimal"] = decimal
    return environment


def render_text(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template that is given as text. Raises as `render` does."""
    return _compiled(template).render(values)


@lru_cache(maxsize=256)
def _compiled(template: str) -> Template:
    """A template that is given as text. A run renders each file of a role many times."""
    return _environment().from_string(template)


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template, named by its path (with `/`) in DATA or in TEMPLATES.

    What ends with .xml.j2 or .html.j2 is escaped.

    Raises jinja2.UndefinedError if the template asks for a name that `values` lacks.
    """
    return _environment().get_template(template).render(values)
