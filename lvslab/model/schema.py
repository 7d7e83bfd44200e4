"""JSON Schema of lab.yaml, role.yaml and lesson.yaml, made from the model, for editors.

`python -m lvslab.model.schema` writes the files of docs/; a test proves that they are
the model's.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from lvslab.core.files import write_atomic
from lvslab.core.places import DATA
from lvslab.model.lab import LabFile
from lvslab.model.role import RoleFile
from lvslab.model.shapes import Strict

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Pydantic's own, but a key that a mapping's pattern refuses is refused by the schema too."""

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        made.pop("propertyNames", None)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: a field is called by its name."""
        return False


@cache
def schema_of(model: type[Strict]) -> Schema:
    """The JSON Schema (2020-12) of a model."""
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_Generator)}


def lab_schema() -> Schema:
    """The JSON Schema of lab.yaml."""
    return schema_of(LabFile)


def role_schema() -> Schema:
    """The JSON Schema of role.yaml."""
    return schema_of(RoleFile)


def lesson_schema() -> Schema:
    """The JSON Schema of lesson.yaml."""
    from lvslab.model.lesson import LessonFile  # late: most runs have to do with no lesson

    return schema_of(LessonFile)


def schema_text(schema: Schema) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2) + "\n"


def write_schemas(docs: Path) -> list[Path]:
    """Writes docs/lab.schema.json and those of a role and a lesson; returns their paths."""
    written = []
    schemas = {"lab": lab_schema(), "role": role_schema(), "lesson": lesson_schema()}
    for name, schema in schemas.items():
        path = docs / f"{name}.schema.json"
        write_atomic(path, schema_text(schema))
        written.append(path)
    return written


if __name__ == "__main__":
    for path in write_schemas(DATA / "docs"):
        print(path)
