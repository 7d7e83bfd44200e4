"""The engine of VMware Workstation and Fusion, driven by their program `vmrun`."""
