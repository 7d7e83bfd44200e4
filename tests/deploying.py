"""`build.py deploy` in tests: a desk with a lab, its artifacts, a class and a site file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvslab.cli import main
from lvslab.deploy import credentials, deployment
from lvslab.model.load import load_lab
from tests import small_artifacts

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Ended:
    """How a call of the verb ended: its status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def objects(self, event: str) -> list[dict[str, Any]]:
        """The lines of --json of one kind."""
        lines = [json.loads(line) for line in self.out.splitlines()]
        return [line for line in lines if line["event"] == event]


@dataclass
class Desk:
    """Where a teacher sits. `site` may be changed; each call writes it again."""

    platform: str
    folder: Path
    site: dict[str, Any]
    capsys: pytest.CaptureFixture[str]
    students: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lab_file = self.folder / "lab.yaml"
        self.lab_file.write_text((ROOT / "lab.yaml").read_text())
        self.make_artifacts()

    def make_artifacts(self, content: bytes = b"a disk") -> None:
        small_artifacts.write(load_lab(self.lab_file), self.folder / "artifacts", content)

    def change_lab(self, old: str, new: str) -> None:
        text = self.lab_file.read_text()
        assert old in text
        self.lab_file.write_text(text.replace(old, new))

    @property
    def site_file(self) -> Path:
        return self.folder / f"{self.platform}.yaml"

    @property
    def ledger(self) -> Path:
        return deployment.ledger_of(self.site_file)

    def run(self, *words: str) -> Ended:
        """Call `deploy` for the lab, or for the class if there are students."""
        self.site_file.write_text(yaml.safe_dump(self.site))
        argv = ["deploy", self.platform, "--site", str(self.site_file), "--lab", str(self.lab_file)]
        argv += ["--artifacts", str(self.folder / "artifacts")]
        if self.students:
            class_file = self.folder / "class.csv"
            class_file.write_text("\n".join(["id", *self.students]) + "\n")
            argv += ["--class", str(class_file)]
        self.capsys.readouterr()
        status = main.main([*argv, *words])
        return Ended(status, *self.capsys.readouterr())

    def good(self, *words: str) -> Ended:
        """Call it; it must end well."""
        ended = self.run(*words)
        assert ended.status == 0, ended.text
        return ended


def log_in(monkeypatch: pytest.MonkeyPatch, user: str, secret: str) -> None:
    """Put credentials into the environment, where the verb looks for them."""
    monkeypatch.setenv(credentials.USER, user)
    monkeypatch.setenv(credentials.SECRET, secret)
