"""What is done on a host with VMware: its networks, and machines that were imported."""
