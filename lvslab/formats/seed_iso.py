"""A node's seed: a small ISO that cloud-init's NoCloud source finds by its label.

Source: cloud-init's documentation of NoCloud (a file system labelled `cidata` with
user-data, meta-data and network-config); ISO 9660, Joliet, Rock Ridge 1.09.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pycdlib
from pycdlib import dates, headervd

from lvslab.core.files import atomic
from lvslab.formats import vmdk

LABEL = "cidata"
_MIB = 1 << 20
_GUARD = threading.Lock()


class SeedTexts(Protocol):
    """What a seed holds: the three texts that `render` makes for a node."""

    @property
    def user_data(self) -> str:
        """The cloud-config."""

    @property
    def meta_data(self) -> str:
        """Instance id and host name."""

    @property
    def network_config(self) -> str:
        """Addresses by interface name."""


def write_iso(seed: SeedTexts, path: Path, *, epoch: int) -> None:
    """Write the seed ISO atomically; every time in it is `epoch` (seconds, UTC).

    The same texts and epoch give the same bytes, in every time zone. Raises OSError.
    """
    texts = {
        "user-data": seed.user_data,
        "meta-data": seed.meta_data,
        "network-config": seed.network_config,
    }
    with _GUARD, _clock_stopped_at(epoch), atomic(path) as temporary:
        iso = pycdlib.PyCdlib()
        iso.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
        for name, text in sorted(texts.items()):
            data = text.encode()
            iso.add_fp(
                io.BytesIO(data),
                len(data),
                f"/{name.replace('-', '_').upper()}.;1",
                rr_name=name,
                joliet_path=f"/{name}",
                file_mode=0o100444,
            )
        iso.write(str(temporary))
        iso.close()


def write_disk(iso: Path, disk: Path) -> vmdk.Written:
    """Write a seed ISO as a streamOptimized VMDK, atomically: a disk in whole MiB.

    cloud-init finds the label on any block device. Raises OSError.
    """
    with tempfile.NamedTemporaryFile(dir=disk.parent, suffix=".raw") as raw:
        raw.write(iso.read_bytes())
        raw.truncate(-(-iso.stat().st_size // _MIB) * _MIB)
        raw.flush()
        return vmdk.write_stream_optimized(Path(raw.name), disk)


@contextmanager
def _clock_stopped_at(epoch: int) -> Iterator[None]:
    """Give pycdlib a clock that does not run, in UTC: it takes no times as arguments."""
    clock = SimpleNamespace(
        time=lambda: float(epoch),
        localtime=time.gmtime,
        gmtime=time.gmtime,
        strftime=time.strftime,
        strptime=time.strptime,
        struct_time=time.struct_time,
    )
    modules = (pycdlib.pycdlib, dates, headervd)
    try:
        for module in modules:
            vars(module)["time"] = clock
        yield
    finally:
        for module in modules:
            vars(module)["time"] = time
