"""The seeds of a lesson, for machines that no program of ours runs."""

from __future__ import annotations

from pathlib import Path

from lvslab.build import lockfile
from lvslab.core.files import write_atomic
from lvslab.core.places import DATA
from lvslab.formats import seed_iso
from lvslab.lessons.lesson_folder import SHEET, Lesson
from lvslab.lessons.variant import Signer, Variant
from lvslab.model.load import load_reference
from lvslab.render.lab_texts import seed_texts
from lvslab.render.seeds import node_seed
from lvslab.render.texts import Seed

_LOCK = "packages.lock"


def lesson_seeds(lesson: Lesson, signer: Signer | None = None) -> dict[str, Seed]:
    """Node to its seed: that of the lab, with the texts of the lesson."""
    variant, lab = Variant.of(lesson, signer), lesson.lab
    reference = load_reference(lab)
    found = {}
    for node, this in lab.nodes.items():
        spec = variant.specs[this.role]
        texts = seed_texts(reference, lab.name, spec, variant.broken[node])
        found[node] = node_seed(lab, node, texts)
    return found


def write_seeds(lesson: Lesson, folder: Path, signer: Signer | None = None) -> list[Path]:
    """Write a seed ISO for each node, and the sheet; the paths of all."""
    folder.mkdir(parents=True, exist_ok=True)
    epoch = lockfile.load(DATA / _LOCK).epoch
    written = []
    for node, seed in lesson_seeds(lesson, signer).items():
        seed_iso.write_iso(seed, folder / f"{node}.iso", epoch=epoch)
        written.append(folder / f"{node}.iso")
    write_atomic(folder / SHEET, lesson.sheet)
    return [*written, folder / SHEET]
