"""Rules for disks: VMDK containers, and what the file systems inside them hold."""
