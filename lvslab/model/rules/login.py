"""Rules of the class user's login."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator

from lvslab.model.lab import Lab
from lvslab.model.problems import Violation
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab

RESERVED_USERS = frozenset(
    # users, and groups: a user's own group cannot be made if there is one of that name
    [
        "root",
        "daemon",
        "bin",
        "sys",
        "sync",
        "games",
        "man",
        "lp",
        "mail",
        "news",
        "uucp",
        "proxy",
        "www-data",
        "backup",
        "list",
        "irc",
        "nobody",
        "messagebus",
        "sshd",
        "systemd-network",
        "systemd-resolve",
        "systemd-timesync",
        "keepalived_script",
        "dhcpcd",
        "tcpdump",
        "adm",
        "tty",
        "disk",
        "kmem",
        "dialout",
        "fax",
        "voice",
        "cdrom",
        "floppy",
        "tape",
        "sudo",
        "audio",
        "dip",
        "operator",
        "src",
        "shadow",
        "utmp",
        "video",
        "sasl",
        "plugdev",
        "staff",
        "users",
        "nogroup",
        "systemd-journal",
        "input",
        "sgx",
        "clock",
        "kvm",
        "render",
    ]
)
KEY_FIELDS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""The public keys that the images' sshd takes, and how many fields each has (RFC 4253, 6.6)."""


@rule
def the_class_user_is_nobody_else(lab: Lab) -> Iterator[Violation]:
    """The class user is a user of its own, not one that the images have, nor a group of theirs."""
    if lab.login.user in RESERVED_USERS:
        what = f"{lab.login.user} is already a user or a group of Debian"
        yield Violation(("login", "user"), what, "choose another name, such as student")


@rule_of_a_whole_lab
def someone_can_log_in(lab: Lab) -> Iterator[Violation]:
    """There is a password or a key."""
    if lab.login.password_hash is None and not lab.login.ssh_keys:
        what = f"{lab.login.user} has neither a password nor a key, so nobody can log in"
        right = "add `password_hash:` (openssl passwd -6) or `ssh_keys:`"
        yield Violation(("login",), what, right, True)


@rule
def keys_are_whole(lab: Lab) -> Iterator[Violation]:
    """sshd silently ignores a key that it cannot read."""
    for index, key in enumerate(lab.login.ssh_keys):
        if not _is_public_key(key):
            what = f"{key.split()[0]} … in login.ssh_keys is not a public key that sshd can read"
            right = "copy the whole line of a file such as ~/.ssh/id_ed25519.pub"
            yield Violation(("login", "ssh_keys", index), what, right)


def _is_public_key(line: str) -> bool:
    """Whether a line has a key with all its fields, the first of which repeats its kind."""
    kind, text = line.split(" ")[:2]
    try:
        rest = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    fields = []
    while rest:
        end = 4 + int.from_bytes(rest[:4])
        if len(rest) < end:
            return False
        fields.append(rest[4:end])
        rest = rest[end:]
    return len(fields) == KEY_FIELDS.get(kind) and fields[0] == kind.encode()


@rule
def keys_are_there_once(lab: Lab) -> Iterator[Violation]:
    """A key that appears twice is probably one that was meant to be another."""
    for key, times in Counter(lab.login.ssh_keys).items():
        if times > 1:
            index = len(lab.login.ssh_keys) - 1 - lab.login.ssh_keys[::-1].index(key)
            what = f"a key appears {times} times in login.ssh_keys"
            yield Violation(("login", "ssh_keys", index), what, "keep it once")
