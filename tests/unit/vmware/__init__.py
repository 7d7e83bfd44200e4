"""The work on a host with VMware."""
