"""The seeds of a lesson: they obey the rules for seeds, and apply-texts puts them in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lvslab.core.files import sha256_text
from lvslab.lessons.lesson_folder import load_lesson, names
from lvslab.lessons.lesson_seeds import lesson_seeds, write_seeds
from lvslab.lessons.variant import LESSON_FILE, Variant
from lvslab.model.load import load_reference
from lvslab.render.machine_files import image_texts
from lvslab.verify.seeds import labtexts
from tests.strategies import variants


@pytest.mark.parametrize("name", variants(*names(), fast=3))
def test_a_seed_brings_what_its_node_has_in_the_lesson(name: str) -> None:
    lesson = load_lesson(name)
    variant = Variant.of(lesson)
    reference = load_reference(lesson.lab)
    for node, seed in lesson_seeds(lesson).items():
        config = yaml.safe_load(seed.user_data)
        assert labtexts.look(config).endswith(f"texts of the lab {lesson.lab.name}")
        files = {entry["path"]: entry["content"] for entry in config["write_files"]}
        texts = json.loads(files["/etc/lvslab/texts.json"])
        spec = variant.specs[lesson.lab.nodes[node].role]
        image = json.loads(image_texts(reference, spec))
        assert texts["image"] == sha256_text(image_texts(reference, spec))
        there = {
            path: file["content"] for path, file in {**image["files"], **texts["files"]}.items()
        }
        for path in texts["remove"]:
            del there[path]
        assert there == {path: f.content for path, f in variant.broken[node].files.items()}
        assert LESSON_FILE in texts["files"]


def test_seeds_are_written_with_the_sheet(tmp_path: Path) -> None:
    lesson = load_lesson("router-ids")
    written = write_seeds(lesson, tmp_path / "seeds")
    assert [path.name for path in written] == [
        "lvs1.iso",
        "lvs2.iso",
        "rs1.iso",
        "rs2.iso",
        "sheet.md",
    ]
    again = write_seeds(lesson, tmp_path / "again")
    assert [p.read_bytes() for p in written] == [p.read_bytes() for p in again]
