"""lvslab: VMware-ready images of a highly available, active-active LVS cluster."""

__version__ = "0.1.0"
