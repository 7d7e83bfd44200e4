"""What the article's checklist expects on each node and on the client, as plain values.

`labcheck` (roles/common/files/usr/local/bin/labcheck) compares them with what it finds; it
is the same program on a node, in `lab check` and in the tests.
"""

from __future__ import annotations

import json

from lvslab.model.family import place
from lvslab.model.lab import Lab
from lvslab.render.kinds import kind_of
from lvslab.render.kinds.shared import Facts, instances


def expectations(lab: Lab) -> Facts:
    """The facts that hold while all is well: `nodes` by name, and the `client`."""
    nodes = {
        name: {"kind": lab.kind_of(name).value, **kind_of(lab, name).facts(lab, name)}
        for name in lab.nodes
    }
    return {"nodes": nodes, "client": _client(lab)}


def text(lab: Lab) -> str:
    """`expectations` as the text of /etc/lvslab/checklist.json."""
    return json.dumps(expectations(lab), indent=1)


def _client(lab: Lab) -> Facts:
    network = lab.client_network
    return {
        "kind": "client",
        "network": network,
        "addresses": list(map(str, lab.hosts_on(network))),
        "vips": [fact for fact in instances(lab) if fact["network"] == network],
        "services": [
            {
                "service": place(lab.endpoint(name)[0], port),
                "probe": lab.asked_by(service, this.protocol),
                "real_servers": list(lab.real_servers(name)),
            }
            for name, this in lab.virtual_servers.items()
            for service, port in lab.ports_of(name).items()
        ],
    }
