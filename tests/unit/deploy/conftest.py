"""What the tests of all platforms share."""

from __future__ import annotations

import pytest

from tests.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the servers of a module's tests."""
    return Authority(tmp_path_factory.mktemp("authority"))
