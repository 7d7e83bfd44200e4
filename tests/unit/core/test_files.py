"""Files that are whole or absent, while others write beside them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lvslab.core.files import remove, remove_in_use


def test_a_folder_that_another_run_fills_is_removed(tmp_path: Path) -> None:
    with _Filling(tmp_path / "bytecode") as filling:
        for _ in range(20):
            filling.wait_for_more()
            remove_in_use(tmp_path / "bytecode")
    remove_in_use(tmp_path / "bytecode")
    assert not list(tmp_path.iterdir())


def test_to_remove_it_where_it_stands_fails(tmp_path: Path) -> None:
    """The control: the other run really gets in between."""
    with _Filling(tmp_path / "bytecode") as filling, pytest.raises(OSError, match="not empty"):
        for _ in range(1000):
            filling.wait_for_more()
            remove(tmp_path / "bytecode")


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_in_use(tmp_path / "none" / "bytecode")
    assert not list((tmp_path / "none").iterdir())


class _Filling:
    """Another run that writes into a folder, which it makes again when it is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.more, self.ended = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._fill)

    def __enter__(self) -> _Filling:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def wait_for_more(self) -> None:
        self.more.clear()
        assert self.more.wait(10)

    def _fill(self) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            deep = self.folder / "site-packages" / str(number % 50)
            try:
                deep.mkdir(parents=True, exist_ok=True)
                (deep / f"{number}.pyc").touch()
            except (FileNotFoundError, FileExistsError):  # removed in between
                continue
            self.more.set()
