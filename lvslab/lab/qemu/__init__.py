"""The engine of this host: QEMU, in a network namespace."""
