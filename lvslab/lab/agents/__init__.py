"""The programs that run inside nodes for the lab, and the ways to them."""
