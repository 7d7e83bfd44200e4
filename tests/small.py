"""The whole pipeline on a small disk: all that comes after the trees, in seconds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from lvslab.build.tools import Tools
from lvslab.make import Pipeline


class Small(Pipeline):
    """The pipeline with a disk that is there already."""

    raw: Path

    def disk(self, name: str, tar: Path) -> Path:
        return self.raw

    def final_tree(self, role: str) -> Path:
        return self.raw

    def tools(self) -> Tools:
        return Tools(self.raw.parent, self.lock.epoch)

    def packer(self) -> Path:
        return self.raw

    def common_tree(self) -> Path:
        return self.raw

    def sbom(self, role: str) -> Path:
        return self.raw

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let `images` make its artifacts from this disk, in this cache."""
        made_by = importlib.import_module("lvslab.make.publishing")  # `make.images` is the function
        monkeypatch.setattr(Small, "raw", self.raw, raising=False)
        monkeypatch.setattr(made_by, "Pipeline", Small)
        monkeypatch.setenv("LVSLAB_CACHE", str(self.options.cache))

    def stand_in_for_the_verb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same for the verb, which neither prepares this host nor asks its programs."""
        self.stand_in(monkeypatch)
        monkeypatch.setattr("lvslab.cli.common.Session.ensure", lambda *_: None)
        monkeypatch.setattr("lvslab.make.host_programs.versions", lambda stages: {})
