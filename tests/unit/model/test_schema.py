"""The JSON Schemas of docs/ are the model's, and accept what the model accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator

from lvslab.model.lab import Lab, LabFile
from lvslab.model.schema import lab_schema, role_schema, write_schemas
from tests.strategies import examples, labs

ROOT = Path(__file__).parents[3]


def lab_data() -> Any:
    return yaml.safe_load((ROOT / "lab.yaml").read_text())


def test_the_files_of_docs_are_the_model_s(tmp_path: Path) -> None:
    for path in write_schemas(tmp_path):
        committed = ROOT / "docs" / path.name
        assert committed.read_text() == path.read_text(), "run: python -m lvslab.model.schema"


def test_the_schemas_are_schemas() -> None:
    for schema in (lab_schema(), role_schema()):
        Draft202012Validator.check_schema(schema)


def test_every_key_is_described() -> None:
    for schema in (lab_schema(), role_schema()):
        for name, part in [("top", schema), *schema["$defs"].items()]:
            for key, value in part.get("properties", {}).items():
                assert value.get("description"), f"{name}.{key}"


def test_lab_yaml_and_the_roles_fit() -> None:
    Draft202012Validator(lab_schema()).validate(lab_data())
    for path in (ROOT / "roles").glob("*/role.yaml"):
        Draft202012Validator(role_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"flavour": "large"},
        {"number": 64},
        {"number": "1"},
        {"name": "Lab"},
        {"networks": {"VMnet0": {"kind": "nat"}}},
        {"networks": {"VMnet1": {"cidr": 5}}},
        {"nodes": {"RS1": {"role": "real-server", "interfaces": {}}}},
        {"nodes": {"rs1": {"role": "Server", "interfaces": {}}}},
        {"nodes": {"rs1": {"role": "real-server", "interfaces": {"ens3": "VMnet1"}}}},
        {"nodes": {"rs1": {"role": "real-server"}}},
    ],
)
def test_the_schema_refuses_what_the_model_refuses(change: dict[str, Any]) -> None:
    data = {**lab_data(), **change}
    assert not Draft202012Validator(lab_schema()).is_valid(data)
    with pytest.raises(ValueError, match="validation error"):
        LabFile.model_validate_json(json.dumps(data), strict=True)


@examples(25)
@given(labs(max_real_servers=20))
def test_random_labs_fit(lab: Lab) -> None:
    Draft202012Validator(lab_schema()).validate(lab.model_dump(mode="json", exclude={"roles"}))
