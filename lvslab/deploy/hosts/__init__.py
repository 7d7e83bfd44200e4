"""A class on libvirt hosts: where each student's lab goes, and all of them side by side."""
