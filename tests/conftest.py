"""What the tests share: the default lab, a second one, golden files, and the images' programs."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lvslab.build.image_root import ImageRoot
from lvslab.core.events import silent
from lvslab.core.places import ROLE_FOLDERS, default_cache
from lvslab.core.procs import run
from lvslab.make import Options, Pipeline, images
from lvslab.make.examined import examine
from lvslab.make.report import Artifact
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab, load_role
from lvslab.model.role import RoleSpec
from tests.appliance import make_disk
from tests.small import Small

pytest_plugins = ("tests.measured", "tests.skips")

# Python's collector walks through all that thousands of tests hold: less often, as in `cli.main`.
gc.set_threshold(50_000)

# `test` takes Hypothesis's own profile, `test --fast` this one.
settings.register_profile("quick", max_examples=10)

ROOT = Path(__file__).resolve().parents[1]
ROLES = ("director", "real-server")
"""The roles of the default lab."""

GOLDEN = ROOT / "tests" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, what takes long comes first, so that no process ends much later than others.

    The first of all needs trees of packages, for which a processor is busy two minutes.
    """

    def place(item: pytest.Item) -> tuple[bool, bool]:
        needs = getattr(item, "fixturenames", ())
        return "program_tree" not in needs, item.get_closest_marker("slow") is None

    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=place)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The article's lab."""
    return load_lab(ROOT / "lab.yaml")


@pytest.fixture(scope="session")
def wide_lab() -> Lab:
    """Three directors, five real servers, the article's letter (no source addresses)."""
    return load_lab(GOLDEN / "wide" / "lab.yaml")


def with_service(lab: Lab, **values: Any) -> Lab:
    """The lab with other values of its first virtual server."""
    name, first = next(iter(lab.virtual_servers.items()))
    changed = type(first).model_validate(first.model_dump() | values)
    return lab.model_copy(update={"virtual_servers": lab.virtual_servers | {name: changed}})


@cache
def role_spec(role: str) -> RoleSpec:
    """A role of this repository, `common` merged in."""
    return load_role(ROLE_FOLDERS, role)


@pytest.fixture(scope="session")
def specs() -> dict[str, RoleSpec]:
    return {role: role_spec(role) for role in ROLES}


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' artifacts are: a new folder, or `LVSLAB_TEST_ARTIFACTS`."""
    given = os.environ.get("LVSLAB_TEST_ARTIFACTS")
    return Path(given) if given else tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def pipeline(lab: Lab, specs: dict[str, RoleSpec], artifacts: Path) -> Pipeline:
    """The default lab's pipeline, in the cache that the build uses too."""
    return Pipeline(lab, specs, Options(default_cache(), artifacts))


@pytest.fixture(scope="session")
def built(lab: Lab, specs: dict[str, RoleSpec], artifacts: Path) -> Path:
    """The folder of all artifacts of the default lab, made and verified once for all tests."""
    cache = default_cache()

    def verified(made: list[Artifact]) -> None:
        examine(lab, artifacts, {a.path: a.sha256 for a in made}, cache, silent)

    images(lab, specs, Options(cache, artifacts), silent, examine=verified)
    return artifacts


@pytest.fixture(scope="session")
def good_disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_disk(tmp_path_factory.mktemp("disk"))


@pytest.fixture
def small(lab: Lab, specs: dict[str, RoleSpec], good_disk: bytes, tmp_path: Path) -> Small:
    """The pipeline on a small disk in the place of the image's, with a cache of its own."""
    pipeline = Small(lab, specs, Options(tmp_path / "cache", tmp_path / "out", per_node=True))
    pipeline.raw = tmp_path / "disk" / "disk.raw"
    pipeline.raw.parent.mkdir()
    pipeline.raw.write_bytes(good_disk)
    return pipeline


Golden = Callable[[str, dict[str, str]], None]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare texts with the files of a golden folder, or write them (`--update-golden`)."""

    def compare(name: str, texts: dict[str, str]) -> None:
        folder = GOLDEN / name
        if request.config.getoption("--update-golden"):
            for old in folder.rglob("*"):
                if old.is_file() and old.relative_to(folder).as_posix() not in texts:
                    old.unlink()
            for path, text in texts.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, "utf-8")
        there = {
            file.relative_to(folder).as_posix(): file.read_text("utf-8")
            for file in folder.rglob("*")
            if file.is_file()
        }
        assert sorted(texts) == sorted(there)
        for path, text in texts.items():
            assert text == there[path], f"{name}/{path}: pytest --update-golden writes it again"

    return compare


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait for other test processes that do the same."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def program_tree(
    tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline
) -> Iterator[Callable[[str], ImageRoot]]:
    """The unpacked base tree of a role's image, to run its own programs in.

    `LVSLAB_TEST_TREE` may name an unpacked tree that serves both roles; otherwise the
    pipeline makes the base trees (from its cache, if they are there). Tests run at the same time:
    one process makes a tree, the others wait for it.
    """
    given = os.environ.get("LVSLAB_TEST_TREE")

    @cache
    def tree(role: str) -> ImageRoot:
        if given:
            return ImageRoot(Path(given))
        folder = tmp_path_factory.mktemp(role)
        # Device files are root's to make; the programs see the host's /dev.
        with one_at_a_time(pipeline.options.cache / "test-trees.lock"):
            archive = pipeline.base_tree(role)
        argv: list[str | Path] = ["tar", "--exclude=./dev/*", "-C", folder, "-xf", archive]
        run(argv, what=f"unpacking the tree of {role}")
        return ImageRoot(folder)

    yield tree
