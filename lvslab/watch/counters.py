"""The counters of a director's IPVS table, as `ipvsadm` prints them (ipvsadm(8), --stats)."""

from __future__ import annotations

from lvslab.model.lab import Lab

COMMAND = ("ipvsadm", "--list", "--numeric", "--stats", "--exact")


def read(lab: Lab, text: str) -> dict[tuple[str, str], int]:
    """Connections so far, by virtual server and real server; lines of others are left out.

    A line of a virtual server is `TCP 192.168.50.1:80 …` or, with a firewall mark, `FWM 1 …`; under
    it a line for each real server, `-> 192.168.100.10:80 …`; the first number is the connections.
    """
    services: dict[tuple[str, str], str] = {}
    for name, this in lab.virtual_servers.items():
        address, port = lab.endpoint(name)
        host = f"[{address}]" if ":" in address else address
        services[(this.protocol, f"{host}:{port}")] = name
        if mark := lab.mark_of(name):
            services[("FWM", str(mark))] = name
    servers = {
        str(ip): node for name in lab.virtual_servers for node, ip in lab.real_servers(name).items()
    }
    found: dict[tuple[str, str], int] = {}
    service = None
    for words in map(str.split, text.splitlines()):
        if len(words) > 2 and words[0] == "->" and words[2].isdigit():
            node = servers.get(words[1].rpartition(":")[0].strip("[]"))
            if service and node:
                found[service, node] = found.get((service, node), 0) + int(words[2])
        elif len(words) > 1 and words[0] in ("TCP", "UDP", "SCTP", "FWM"):
            service = services.get((words[0], words[1]))
    return found
