"""The lab in QEMU: its network namespace, its machines, its faults and its checkpoints."""
