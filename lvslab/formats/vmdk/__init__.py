"""VMDK files: a deterministic writer (`write_*`) and a strict reader (`Reader`)."""

from lvslab.formats.vmdk.layout import VmdkError
from lvslab.formats.vmdk.reader import Reader
from lvslab.formats.vmdk.writer import (
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
