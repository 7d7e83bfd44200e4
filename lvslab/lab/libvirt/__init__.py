"""The engine of other hosts: their libvirt runs the machines, VXLAN joins their networks."""
