"""VMDK files: a deterministic writer (`write_*`) and a strict reader (`Reader`).

A stage that writes a VMDK names `lvslab.export.vmdk.layout` and
`lvslab.export.vmdk.writer` as its code.
"""

from lvslab.export.vmdk.layout import VmdkError
from lvslab.export.vmdk.reader import Reader
from lvslab.export.vmdk.writer import (
    Written,
    write_child,
    write_monolithic_sparse,
    write_stream_optimized,
)

__all__ = [
    "Reader",
    "VmdkError",
    "Written",
    "write_child",
    "write_monolithic_sparse",
    "write_stream_optimized",
]
