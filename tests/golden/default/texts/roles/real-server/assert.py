#!/usr/bin/python3
"""Is this machine what the role real-server says? Runs as root at the end of the bake.

One line for each check; ends with 1 if any check failed.
"""

import hashlib
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

WANTED = json.loads(r"""
{
 "packages": [
  "linux-image-amd64",
  "initramfs-tools",
  "zstd",
  "systemd-sysv",
  "systemd-resolved",
  "udev",
  "e2fsprogs",
  "dbus",
  "cloud-init",
  "openssh-server",
  "sudo",
  "ca-certificates",
  "iproute2",
  "iputils-ping",
  "iputils-arping",
  "kmod",
  "procps",
  "less",
  "nano",
  "bash-completion",
  "curl",
  "open-vm-tools",
  "keepalived",
  "ipvsadm",
  "iptraf-ng",
  "tcpdump",
  "screen",
  "apache2",
  "php8.4-fpm",
  "openssl"
 ],
 "files": {
  "/etc/apache2/conf-enabled/lvslab.conf": [
   "a52df0b1f33ae14013c075ab0c49e55401098e5c4abc4c20d60dd246f5dc4cf5",
   420
  ],
  "/etc/apache2/ports.conf": [
   "40b32ae8b8ff926cfde7266ed8f8ed027b2f57d91e5fd74a2897af5c16e8c04a",
   420
  ],
  "/etc/apache2/sites-available/000-default.conf": [
   "353851558fddc3382a117434b0054820e2471ae669b9d7a5fd21dd91a8e9a9c0",
   420
  ],
  "/etc/apt/sources.list.d/debian.sources": [
   "ef934436d7adbeb65358b09500df43c471dc01c8a64d259e28263646c245a99a",
   420
  ],
  "/etc/cloud/cloud.cfg.d/90-lvslab.cfg": [
   "1d780ea2edf231dd5668d282ba1298948ddbfac732fb44bdd865ca65f861969b",
   420
  ],
  "/etc/iproute2/rt_tables.d/lvslab.conf": [
   "2c0f5415def86ac9f878ae7b05d3265ea8100c290667e8bfef4997ebdac3f911",
   420
  ],
  "/etc/issue": [
   "d9c6e2d7e3079426927e557a27cd00ff5fef19415b5c513e2bc121ae26a00a22",
   420
  ],
  "/etc/lvslab/checklist.json": [
   "f2aef81d11e6ba10f4164dc27a423548109d4a8bb0bc145088e9ca8edf85bc55",
   420
  ],
  "/etc/lvslab/role": [
   "4c8ae7768da0a49c6fff8980384d1a8b8db082120e6f1ae841fa9d1fcc6c4924",
   420
  ],
  "/etc/modules-load.d/lvslab.conf": [
   "c29ce4d9eb3ee02814723d6c1fa3cd5270ffd4992f5a9901433f7cffd1ac90f5",
   420
  ],
  "/etc/motd": [
   "93041bb786654624d11a9d789627911feb9ebf3aaa7a0ffdcaeeef7f52ef8a70",
   420
  ],
  "/etc/php/8.4/fpm/pool.d/zz-lvslab.conf": [
   "5a1b97958e069a6f612d43b1f9d01b3222f64107140c1d4e7423f00bbecde871",
   420
  ],
  "/etc/ssh/sshd_config.d/10-lvslab.conf": [
   "bad1867055918a17d04bf633595ac821702488bf43fbeeb23e126afcb50c96ed",
   420
  ],
  "/etc/sysctl.d/60-lvslab.conf": [
   "d0cebcdd223a79ba791586cb83698274a4f9f77d95bfeb47be12a005ab587a17",
   420
  ],
  "/etc/systemd/network/05-unseeded.network": [
   "e27e1775d21daf1d3178f15ee7b7156d5930cf8198e0b8c6e9fadbf6f2b254d5",
   420
  ],
  "/etc/systemd/network/10-cloud-init-eth1.network.d/50-lvslab.conf": [
   "ec2f085a3b94fa7b60ad8c581b822d7b923082e6c20fe77c952315901c718e61",
   420
  ],
  "/etc/systemd/network/10-cloud-init-eth2.network.d/50-lvslab.conf": [
   "aea9b01ba375434d8cd484bfaca1535c0d204ad9998dde454ef8d61fc0c90340",
   420
  ],
  "/etc/systemd/networkd.conf.d/10-lvslab.conf": [
   "ca9fb43005eff3c1a0cc69d85099ed327c1dc47e16982213b86a3a3442be6189",
   420
  ],
  "/etc/systemd/resolved.conf.d/10-lvslab.conf": [
   "d2ef3542827f66d64234bdd555f35c61a58a6563b4d1190fafebc2b7278a6836",
   420
  ],
  "/etc/systemd/system/apache2.service.d/10-lvslab.conf": [
   "31afa2d99ff1ed69cb393de5d0f0cdce9f8a719c8a984c768518920219ded1a6",
   420
  ],
  "/etc/systemd/system/cloud-final.service.d/10-lvslab.conf": [
   "6c7687238e8a21d3a0521bb8c5ee725e8abcf9a5c6dc1f34b247d41f9b42a350",
   420
  ],
  "/etc/systemd/system/cloud-init-main.service.d/10-lvslab.conf": [
   "dfa7d183dbb299b93f9fc05d7ed8423bf1b83c9e34e71ede5cbb4196d6d8a5a1",
   420
  ],
  "/etc/systemd/system/cloud-init-network.service.d/10-lvslab.conf": [
   "afd48e06a953ec49e486f4a76601ecb57b071c2667b1f168bb089d19346ecc88",
   420
  ],
  "/etc/systemd/system/php8.4-fpm.service.d/10-lvslab.conf": [
   "05ac5d3266973db419305c42d8a5d0f1b7657e70a83478af6a2bc5dcadb5470e",
   420
  ],
  "/etc/systemd/system/systemd-networkd-wait-online.service.d/10-lvslab.conf": [
   "127b96fb3da77126f0716ef20249f7eb1fb30887ec34f1813ed2fe781fa3dac2",
   420
  ],
  "/etc/systemd/system/systemd-networkd.service.d/10-lvslab.conf": [
   "37e1ac29db62ec09a0ea36a9b3b7ba7f617304f78cfa67faa216fd789e1f0358",
   420
  ],
  "/etc/systemd/system/systemd-udev-trigger.service.d/10-lvslab.conf": [
   "f42a55d4ba53406644b8f854fbf83258a16e48cce4090df463e6e7a2f999d387",
   420
  ],
  "/etc/vmware-tools/tools.conf": [
   "a54ce9760a3341700ebd82f9e498585f9cf46bbf57c9a0b3221ca41511a070d7",
   420
  ],
  "/usr/local/bin/labcheck": [
   "ffc2bdb2feaddbc560b93a7ff96126e3ffb8e2ef6e77dbfd6ee34daefd5edf55",
   493
  ],
  "/usr/local/lib/lvslab/apply-texts": [
   "dce562227547ab8c6507d50fa4e1c4b767768020e3dc30ab21adc2b42b899361",
   493
  ],
  "/usr/local/lib/lvslab/first-boot": [
   "fe9e95096cac2370b956e756fabcf9fccb57d44d1d68d46b687003db26a3d714",
   493
  ],
  "/usr/local/lib/lvslab/leave-up": [
   "b7959a756ff47cb17851f019c2f76189097a7090111ce9545efc2b2b31ec7d4a",
   493
  ],
  "/usr/local/lib/lvslab/lesson": [
   "d4953f4abfb3daf28930cda9d9296163b4266a357fa3b71cd24942b532146fcb",
   420
  ],
  "/usr/local/lib/lvslab/settle": [
   "072b6f9b8c74222f29cb44469214f13e3598881bc8e09df9bb9a18cf981ed37a",
   493
  ],
  "/usr/local/lib/lvslab/texts.json": [
   "8c5b472cfe1b6f6e7966ac4558b701d26025cbb1d6ad0fbb6f4f8d6023d1144a",
   420
  ],
  "/var/www/lvslab/index.php": [
   "e8842b743fffb40c3553c14c274144cad71f96b82b72f2694a2bc9991c55121c",
   420
  ]
 },
 "enabled": [
  "systemd-networkd.service",
  "apache2.service",
  "php8.4-fpm.service"
 ],
 "masked": [
  "ipvsadm.service",
  "sshd-keygen.service",
  "cloud-init-hotplugd.socket",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "fstrim.timer",
  "e2scrub_reap.service",
  "e2scrub_all.timer",
  "systemd-pstore.service",
  "systemd-binfmt.service",
  "proc-sys-fs-binfmt_misc.automount",
  "sys-fs-fuse-connections.mount",
  "sys-kernel-config.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "modprobe@configfs.service",
  "modprobe@drm.service",
  "modprobe@fuse.service"
 ],
 "guarded": [
  "apache2.service",
  "php8.4-fpm.service"
 ],
 "modules": [
  "button"
 ],
 "sysctl": {},
 "interfaces": [
  "eth1",
  "eth2"
 ],
 "readings": [
  {
   "what": "apache's configuration",
   "run": [
    "apache2ctl",
    "configtest"
   ],
   "says": "",
   "exactly": "Syntax OK"
  },
  {
   "what": "apache's site on port 80",
   "run": [
    "apache2ctl",
    "-t",
    "-D",
    "DUMP_VHOSTS"
   ],
   "says": "*:80 ",
   "exactly": ""
  },
  {
   "what": "apache's event MPM",
   "run": [
    "apache2ctl",
    "-M"
   ],
   "says": "mpm_event",
   "exactly": ""
  },
  {
   "what": "apache asks PHP",
   "run": [
    "apache2ctl",
    "-M"
   ],
   "says": "proxy_fcgi",
   "exactly": ""
  },
  {
   "what": "PHP's pool",
   "run": [
    "php-fpm8.4",
    "-t"
   ],
   "says": "",
   "exactly": ""
  },
  {
   "what": "the page's PHP",
   "run": [
    "php",
    "-l",
    "/var/www/lvslab/index.php"
   ],
   "says": "",
   "exactly": ""
  }
 ],
 "directors": []
}
""")
NAMESPACE = "lvslab-assert"
failed: list[str] = []


def check(what: str, wrong: str) -> None:
    """Report one check; `wrong` says what is wrong and is empty if nothing is."""
    print(f"FAIL  {what}: {wrong}" if wrong else f"ok    {what}", flush=True)
    if wrong:
        failed.append(what)


def output(*words: str) -> tuple[int, str]:
    """Status and both outputs of a program."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout.strip()


def asked(names: Iterable[str], *words: str) -> Iterator[tuple[str, str]]:
    """Each name and the line that a program says of it; one process for all."""
    there = list(names)
    if there:
        _, text = output(*words, *there)
        yield from itertools.zip_longest(there, text.splitlines(), fillvalue="unknown")


def silent(what: str, *words: str) -> None:
    """A check that a program ends with 0 and says nothing."""
    status, text = output(*words)
    check(what, text or (f"ended with {status}" if status else ""))


def files() -> None:
    """The role's files: content, mode, owner."""
    for path, (sha256, mode) in WANTED["files"].items():
        there = pathlib.Path(path)
        if not there.is_file():
            check(f"file {path}", "is not there")
            continue
        wrong = []
        if hashlib.sha256(there.read_bytes()).hexdigest() != sha256:
            wrong.append("has another content")
        stat = there.stat()
        if stat.st_mode & 0o7777 != mode:
            wrong.append(f"has mode {stat.st_mode & 0o7777:04o}, not {mode:04o}")
        if (stat.st_uid, stat.st_gid) != (0, 0):
            wrong.append("is not root's")
        check(f"file {path}", "; ".join(wrong))


def packages() -> None:
    """The role's packages are installed."""
    _, text = output("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    installed = {line.split()[0] for line in text.splitlines() if line.endswith(" installed")}
    for name in WANTED["packages"]:
        check(f"package {name}", "" if name in installed else "is not installed")


def units() -> None:
    """What starts, what never does, and what waits for a seed."""
    for state in ("enabled", "masked"):
        for unit, is_now in asked(WANTED[state], "systemctl", "is-enabled"):
            check(f"unit {unit} is {state}", "" if is_now == state else f"is {is_now}")
    for unit, is_now in asked(WANTED["guarded"], "systemctl", "is-active"):
        check(f"{unit} rests without a seed", "" if is_now == "inactive" else f"is {is_now}")
    check(
        "no node name",
        "/etc/lvslab/node is there" if pathlib.Path("/etc/lvslab/node").exists() else "",
    )


def kernel() -> None:
    """Modules and settings, and keepalived's file, in a network namespace of their own."""
    for module in WANTED["modules"]:
        silent(f"module {module}", "modprobe", module)
    output("ip", "netns", "delete", NAMESPACE)
    silent("a network namespace", "ip", "netns", "add", NAMESPACE)
    inside = ("ip", "netns", "exec", NAMESPACE)
    output(*inside, "ip", "link", "set", "lo", "up")
    for interface in WANTED["interfaces"]:
        output(*inside, "ip", "link", "add", interface, "type", "dummy")
        output(*inside, "ip", "link", "set", interface, "multicast", "on")
        output(*inside, "ip", "link", "set", interface, "up")
    if WANTED["sysctl"]:
        silent(
            "kernel settings apply",
            *inside, "/usr/lib/systemd/systemd-sysctl", "/etc/sysctl.d/60-lvslab.conf",
        )  # fmt: skip
    for key, is_now in asked(WANTED["sysctl"], *inside, "sysctl", "-n"):
        value = WANTED["sysctl"][key]
        wrong = "" if is_now.split() == value.split() else f"is {is_now}, not {value}"
        check(f"setting {key}", wrong)
    keepalived(*inside)
    output("ip", "netns", "delete", NAMESPACE)


def keepalived(*inside: str) -> None:
    """keepalived reads its file as each director, where the cluster's interfaces are."""
    output("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lvslab.conf")
    for director in WANTED["directors"]:
        silent(
            f"keepalived.conf as {director} reads it",
            *inside, "keepalived", "-t", "-i", director, "-f", "/etc/keepalived/keepalived.conf",
        )  # fmt: skip
    if WANTED["directors"]:
        conf = pathlib.Path("/etc/keepalived/keepalived.conf").read_text()
        # keepalived says nothing of a program that is missing, and takes every real server out
        for program in sorted(set(re.findall(r'misc_path "([^ "]+)', conf))):
            there = os.access(program, os.X_OK)
            check(f"program of a check: {program}", "" if there else "is not there")


def sshd() -> None:
    """sshd reads its file, and takes no password."""
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    silent("sshd's configuration", "sshd", "-t")
    _, text = output("sshd", "-T")
    check("SSH takes no password", "" if "passwordauthentication no" in text else "it does")


def programs() -> None:
    """The role's programs read their own files."""
    for reading in WANTED["readings"]:
        status, text = output(*reading["run"])
        wrong = ""
        if status or (reading["exactly"] and text != reading["exactly"]):
            wrong = text or f"ended with {status}"
        elif reading["says"] not in text:
            wrong = f"does not say {reading['says']!r}"
        check(reading["what"], wrong)


def main() -> None:
    """All checks, or with a word only what programs read (no system runs); and the status."""
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["LC_ALL"] = "C.UTF-8"
    readers = (files, keepalived, programs)
    for part in readers if sys.argv[1:] else (packages, files, units, kernel, sshd, programs):
        part()
    print(f"{len(failed)} checks failed" if failed else "all checks passed")
    sys.exit(1 if failed else 0)


main()
