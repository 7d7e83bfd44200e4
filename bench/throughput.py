#!/usr/bin/env python3
"""What a director costs: requests a second through a VIP, and straight to the real servers.

    bench/throughput.py [--name LAB] [--seconds N] [--runs N] [--connections N]

Needs wrk, and a lab that runs (build.py lab up). The client asks one VIP; then both real servers
at once, from an address of their own network, with half as many connections each. Prints the
median of each and their ratio. An emulated lab shares the host's processors between all nodes, so
only the ratio says something.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lvslab.core.errors import LabError, MissingError  # noqa: E402
from lvslab.core.procs import program  # noqa: E402
from lvslab.lab.cluster import Cluster  # noqa: E402
from lvslab.lab.network import bridge_names  # noqa: E402
from lvslab.model.family import IPV4  # noqa: E402

_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)", re.MULTILINE)
_FAILED = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .*")


@contextmanager
def on_the_servers_network(cluster: Cluster, network: str) -> Iterator[None]:
    """The client has the last address of a backend network for the time of a block."""
    cidr = cluster.lab.cidr(network, IPV4)
    address = f"{cidr[-2]}/{cidr.prefixlen}"
    bridge = bridge_names(cluster.lab)[network]
    with cluster.namespace.inside():
        subprocess.run([program("ip"), "address", "add", address, "dev", bridge], check=True)
    try:
        yield
    finally:
        with cluster.namespace.inside():
            subprocess.run([program("ip"), "address", "del", address, "dev", bridge], check=True)


def rate(cluster: Cluster, address: str, connections: int, seconds: int) -> float:
    """Requests a second that wrk got answered. Raises LabError if one failed."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://{address}/"]
    with cluster.namespace.inside():
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60)
    found = _RATE.search(done.stdout)
    if done.returncode or found is None:
        raise LabError(f"wrk ended with status {done.returncode}: {done.stderr or done.stdout}")
    if failed := _FAILED.search(done.stdout):
        raise LabError(f"requests failed: {failed[0]}", where=address)
    return float(found[1])


def measure(cluster: Cluster, connections: int, seconds: int, runs: int) -> None:
    """Print requests a second through the first VIP and without a director, and the ratio."""
    name = next(iter(cluster.lab.virtual_servers))
    vip, _ = cluster.lab.endpoint(name)
    servers = [str(address) for address in cluster.lab.real_servers(name).values()]
    network = cluster.lab.network_of(name)
    through, straight = [], []
    with on_the_servers_network(cluster, network), ThreadPoolExecutor(len(servers)) as pool:
        for _ in range(runs):
            through.append(rate(cluster, vip, connections, seconds))
            part = connections // len(servers)
            asked = [pool.submit(rate, cluster, one, part, seconds) for one in servers]
            straight.append(sum(one.result() for one in asked))
    print(f"through {vip}: {median(through):7.1f} requests/s ({runs} runs of {seconds} s)")
    print(f"straight to {' and '.join(servers)}: {median(straight):7.1f} requests/s")
    print(f"ratio: {median(through) / median(straight):.2f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default="lvslab")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    try:
        program("wrk")
        measure(Cluster.running(options.name), options.connections, options.seconds, options.runs)
    except MissingError as error:
        print(f"error: {error}; on Debian: apt install wrk", file=sys.stderr)
        return error.status
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
