"""Debian's archives by name, and where Debian documents that each is found."""

# debian.org/mirror/list, debian.org/security: below its own name is a host for each.
_HOSTS = {"debian": "ftp", "debian-security": "security"}

PUBLIC = {archive: f"http://{host}.debian.org/{archive}" for archive, host in _HOSTS.items()}
"""Archive to its documented address: the default of a build, and what an image asks."""
