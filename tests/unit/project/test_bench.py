"""The benchmarks' judgement; what they measure needs a real build."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_vmdk", ROOT / "bench/vmdk.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_vmdk"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CASES: list[tuple[str, tuple[float, int], tuple[float, int], list[str]]] = [
    ("all kept", (4.0, 990), (5.0, 985), []),
    ("no better than qemu-img", (6.0, 990), (7.0, 985), ["not 2 times as fast as qemu-img"]),
    ("larger than qemu-img", (4.0, 1001), (5.0, 1000), ["larger than qemu-img's"]),
    ("slower than open-vmdk", (4.0, 990), (3.9, 985), ["slower than open-vmdk"]),
    ("larger than open-vmdk", (4.0, 990), (5.0, 970), ["larger than open-vmdk's"]),
]


@pytest.mark.parametrize(
    ("ours", "other", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_broken_promise_is_named(
    bench: ModuleType, ours: tuple[float, int], other: tuple[float, int], said: list[str]
) -> None:
    best = bench.Result([ours[0]], [1.0], ours[1])
    qemu = bench.Result([10.0], [1.0], 1000)
    theirs = bench.Result([other[0]], [1.0], other[1])
    assert bench.broken(best, {"qemu-img": qemu, bench.OPEN_VMDK: theirs}) == said
    if not any("open-vmdk" in sentence for sentence in said):
        assert bench.broken(best, {"qemu-img": qemu}) == said


def test_a_program_that_fails_is_shown_with_its_status(bench: ModuleType, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(b"x" * (1 << 20))
    contenders = {"qemu-img": bench.by_qemu, bench.OPEN_VMDK: lambda raw, out: 7}
    contenders["empty"] = lambda raw, out: out.write_bytes(b"") and 0
    results = bench.measure(raw, {**contenders, "lvslab": bench.ours(6)}, 2)
    assert (results["qemu-img"].status, len(results["qemu-img"].runs)) == (0, 2)
    assert (results[bench.OPEN_VMDK].status, results[bench.OPEN_VMDK].runs) == (7, [])
    assert results["empty"].status != 0
    assert bench.table(results).splitlines()[2].split() == ["open-vmdk", "level", "6", "7"]
    said = bench.broken(results["lvslab"], results)
    assert said[0] == "open-vmdk level 6 ended with status 7"
