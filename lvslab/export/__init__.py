"""What leaves the build: seeds, VMDKs, OVAs and their sums."""
