#!/usr/bin/python3
"""Is this machine what the role director says? Runs as root at the end of the bake.

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
  "nftables"
 ],
 "files": {
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
   "62f54b42cfe0b9c2340c721c832ba1b37488c7c8cafae169bdb08c283a8f9cfd",
   420
  ],
  "/etc/keepalived/keepalived.conf": [
   "8c86270bb9a204ed43a81e13695b390d031332ce377c143265d29cf64fab335b",
   420
  ],
  "/etc/lvslab/checklist.json": [
   "f2aef81d11e6ba10f4164dc27a423548109d4a8bb0bc145088e9ca8edf85bc55",
   420
  ],
  "/etc/lvslab/packets.nft": [
   "d09e64ebd1550fef213b73eb2f6cb66b98698e2ebec35dd6917c5f140ae70b8c",
   420
  ],
  "/etc/lvslab/role": [
   "45113c4cd687b6bdfd06743f072aaefbda233a516f81d682f83950faec54fc32",
   420
  ],
  "/etc/modules-load.d/lvslab.conf": [
   "7efb00e6463e1e900687fde259e3679a7614e89f33de9348ddfc911e42fa17b3",
   420
  ],
  "/etc/motd": [
   "fe419ec0315071e65c32771f57b05436d81bfc94897052c00eddc40945cb4cad",
   420
  ],
  "/etc/ssh/sshd_config.d/10-lvslab.conf": [
   "bad1867055918a17d04bf633595ac821702488bf43fbeeb23e126afcb50c96ed",
   420
  ],
  "/etc/sysctl.d/60-lvslab.conf": [
   "c2f3ea6c7b2464c3b42e7a03b454513d9430fdf48b254f798bc07e0ea8a81694",
   420
  ],
  "/etc/systemd/network/05-unseeded.network": [
   "e27e1775d21daf1d3178f15ee7b7156d5930cf8198e0b8c6e9fadbf6f2b254d5",
   420
  ],
  "/etc/systemd/network/10-cloud-init-eth1.network.d/50-lvslab.conf": [
   "4eb4c190ec3f0502b463d12dfc7d2d2b4b6946130047255ae5053de52325366b",
   420
  ],
  "/etc/systemd/network/10-cloud-init-eth2.network.d/50-lvslab.conf": [
   "a2fe365db28f956f60583bf98291692c229a0637179966d21c289601fef70ff8",
   420
  ],
  "/etc/systemd/network/10-cloud-init-eth3.network.d/50-lvslab.conf": [
   "b12606bc85b32e933a81106dc66c47121beb6a68c5d2fc2b5e6ddbbe24ae33dc",
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
  "/etc/systemd/system/keepalived.service.d/10-lvslab.conf": [
   "17d14933a533bdaa6dfd918904da72d9c6bbc1186e5144a75d818536e63ca8b6",
   420
  ],
  "/etc/systemd/system/lvslab-packets.service": [
   "5bf53b815280a4b944219600169c64ce99ff6a2bd56c5e139858c5f95db78b4c",
   420
  ],
  "/etc/systemd/system/lvslab-sync.service": [
   "8826b6abd69fbf89f155db95c3eb04dbe2cd2346d7de56377170035608a203a8",
   420
  ],
  "/etc/systemd/system/lvslab-track.service": [
   "b22d454181523371eacbef2e9ab4a3dfdb745fa7cc0da5cb3f9aba161666e958",
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
  "/etc/tmpfiles.d/lvslab.conf": [
   "3ef98b97773c975e09ab3aa88ad3598158d071606f6a01440c568c312f717756",
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
  "/usr/local/lib/lvslab/arp-watch": [
   "b783c698fd5953dc3df07f734f5d62ebf726d05bab6b1809f45ce96f5d19b9e0",
   493
  ],
  "/usr/local/lib/lvslab/connection-sync": [
   "8d587cd3da92ce197d3f3e247b42a228bb80c6a2d8cf8a3a97b0069b5b1dec10",
   493
  ],
  "/usr/local/lib/lvslab/first-boot": [
   "fe9e95096cac2370b956e756fabcf9fccb57d44d1d68d46b687003db26a3d714",
   493
  ],
  "/usr/local/lib/lvslab/hand-over": [
   "68c81485565c22fec1e2b8fc9d9e12f115e34ec97c9f84fe9fcdaeeda1842b5f",
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
   "48e4b9f58531ef5fdaf4b736d6f150b2f14517d73bb03a2c1aa0a3a64174f8f2",
   420
  ]
 },
 "enabled": [
  "systemd-networkd.service",
  "keepalived.service",
  "lvslab-sync.service",
  "lvslab-track.service",
  "lvslab-packets.service"
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
  "keepalived.service",
  "lvslab-sync.service",
  "lvslab-track.service",
  "lvslab-packets.service"
 ],
 "modules": [
  "button",
  "ip_vs",
  "ip_vs_rr"
 ],
 "sysctl": {
  "net.ipv4.ip_forward": "1",
  "net.ipv4.conf.all.rp_filter": "0",
  "net.ipv4.conf.default.rp_filter": "0",
  "net.ipv4.conf.eth1.rp_filter": "0",
  "net.ipv4.conf.eth2.rp_filter": "0",
  "net.ipv4.conf.eth3.rp_filter": "0",
  "net.ipv4.conf.all.promote_secondaries": "1",
  "net.ipv4.conf.default.promote_secondaries": "1",
  "net.ipv4.conf.eth1.promote_secondaries": "1",
  "net.ipv4.conf.eth2.promote_secondaries": "1",
  "net.ipv4.conf.eth3.promote_secondaries": "1",
  "net.ipv4.vs.expire_nodest_conn": "1",
  "net.ipv4.icmp_ratemask": "6160",
  "net.ipv4.vs.sync_threshold": "0 1"
 },
 "interfaces": [
  "eth1",
  "eth2",
  "eth3"
 ],
 "readings": [],
 "directors": [
  "lvs1",
  "lvs2"
 ]
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
