"""A Proxmox VE for tests: `fakepve`, which checks every call against the API's own schema.

fakepve answers the calls for networks and for the HA manager and keeps nothing of them, and takes
no upload of an OVA. What is added here keeps it, as the API's description says; so for these the
tests prove less: that our calls fit the schema and fit each other.
"""

from __future__ import annotations

import asyncio
import gc
import re
import selectors
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from fakepve import FakePve
from fakepve.model import PveError

from lvslab.core.waiting import until
from tests.authority import Authority

USER, SECRET = "teacher@pve", "correct-horse-battery"
_SECONDS = 30


class Cluster(FakePve):  # type: ignore[misc]  # the library has no types
    """Two nodes, a storage that both see, three zones."""

    def __init__(self) -> None:
        super().__init__(user=USER, password=SECRET, host="127.0.0.1", port=0)
        self.nodes = {"pve1": {"online": True}, "pve2": {"online": True}}
        shared = {"active": 1, "shared": 1, "files": set(), "avail": 1 << 40}
        self.storages = {
            "disks": {"type": "rbd", "content": "images", "pool": "rbd", **shared},
            "files": {
                "type": "cephfs",
                "content": "iso,import,images",
                "path": "/mnt/files",
                **shared,
            },
            "local": {
                "type": "dir",
                "content": "iso",
                "path": "/var/lib/vz",
                "active": 1,
                "files": set(),
            },
        }
        self.zones = {
            "labs": {"type": "vxlan", "peers": "10.0.0.1,10.0.0.2"},
            "single": {"type": "simple"},
            "office": {"type": "vlan", "bridge": "vmbr0"},
        }
        self.vnets: dict[str, dict[str, Any]] = {}
        self.in_force: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        self.applied = 0

    # --- networks -------------------------------------------------------------------------

    def _routes_sdn(self) -> list[tuple[str, str, Any]]:
        one = "/cluster/sdn/vnets/{vnet}"
        return [
            ("GET", "/cluster/sdn/zones/{zone}", self._zone),
            ("GET", "/cluster/sdn/vnets", self._list_vnets),
            ("POST", "/cluster/sdn/vnets", self._make_vnet),
            ("PUT", one, self._change_vnet),
            ("DELETE", one, self._remove_vnet),
            ("PUT", "/cluster/sdn", self._apply),
        ]

    async def _zone(self, values: dict[str, Any], user: str) -> Any:
        if values["zone"] not in self.zones:
            raise PveError(500, f"sdn '{values['zone']}' does not exist")
        return self.zones[values["zone"]] | {"zone": values["zone"]}

    async def _list_vnets(self, values: dict[str, Any], user: str) -> Any:
        found = []
        for name, now in {**self.in_force, **self.vnets}.items():
            vnet = {"vnet": name, "type": "vnet", **self.in_force.get(name, {})}
            if name not in self.vnets:
                vnet["state"] = "deleted"
            elif name not in self.in_force:
                vnet |= {"state": "new", "pending": now}
            elif self.in_force[name] != now:
                vnet |= {"state": "changed", "pending": now}
            found.append(vnet)
        return found

    async def _make_vnet(self, values: dict[str, Any], user: str) -> Any:
        if values["vnet"] in self.vnets:
            raise PveError(500, f"sdn vnet object ID '{values['vnet']}' already defined")
        for name, other in self.vnets.items():
            if (other["zone"], other["tag"]) == (values["zone"], values["tag"]):
                raise PveError(500, f"tag {values['tag']} already exist in vnet {name}")
        keys = ("zone", "tag", "alias")
        self.vnets[values["vnet"]] = {key: values[key] for key in keys if key in values}

    async def _change_vnet(self, values: dict[str, Any], user: str) -> Any:
        keys = ("zone", "tag", "alias")
        self.vnets[values["vnet"]] |= {key: values[key] for key in keys if key in values}

    async def _remove_vnet(self, values: dict[str, Any], user: str) -> Any:
        del self.vnets[values["vnet"]]

    async def _apply(self, values: dict[str, Any], user: str) -> Any:
        async def body() -> None:
            self.in_force = {name: dict(vnet) for name, vnet in self.vnets.items()}
            self.applied += 1

        return await self.task("pve1", "reloadnetworkall", "", user, body)

    # --- the HA manager -------------------------------------------------------------------

    def _routes_ha(self) -> list[tuple[str, str, Any]]:
        rule, resource = "/cluster/ha/rules/{rule}", "/cluster/ha/resources/{sid}"
        return [
            ("GET", "/cluster/ha/rules", self._list_rules),
            ("POST", "/cluster/ha/rules", self._put_rule),
            ("PUT", rule, self._put_rule),
            ("DELETE", rule, self._remove_rule),
            ("GET", "/cluster/ha/resources", self._list_resources),
            ("POST", "/cluster/ha/resources", self._make_resource),
            ("DELETE", resource, self._remove_resource),
        ]

    async def _list_rules(self, values: dict[str, Any], user: str) -> Any:
        return list(self.rules.values())

    async def _put_rule(self, values: dict[str, Any], user: str) -> Any:
        unknown = set(values["resources"].split(",")) - set(self.resources)
        if unknown:
            raise PveError(400, f"cannot use unmanaged resource(s) {', '.join(sorted(unknown))}")
        self.rules[values["rule"]] = values

    async def _remove_rule(self, values: dict[str, Any], user: str) -> Any:
        del self.rules[values["rule"]]

    async def _list_resources(self, values: dict[str, Any], user: str) -> Any:
        return [{"sid": sid, **resource} for sid, resource in self.resources.items()]

    async def _make_resource(self, values: dict[str, Any], user: str) -> Any:
        if values["sid"] in self.resources:
            raise PveError(500, f"resource ID '{values['sid']}' already defined")
        self.resources[values["sid"]] = {"comment": values.get("comment")}

    async def _remove_resource(self, values: dict[str, Any], user: str) -> Any:
        del self.resources[values["sid"]]

    # --- uploads --------------------------------------------------------------------------

    async def _upload(self, request: Any) -> Any:
        """As fakepve's own, which refuses the content `import`."""
        fields = _multipart(request.headers["Content-Type"], await request.read())
        name, store = self._file_storage(request, "upload")
        content, (file, data) = fields["content"][1].decode(), fields["filename"]
        if content not in store["content"].split(","):
            raise PveError(500, f"storage '{name}' does not support '{content}' content")

        async def body() -> None:
            self.store_file(name, file, len(data), content)

        node = request.match_info["node"]
        upid = await self.task(node, "imgcopy", "", USER, body)
        return web.json_response({"data": upid})


def _multipart(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The fields of a form (RFC 7578): name to file name, or "", and content."""
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    found = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        words = dict(re.findall(r'(\w+)="([^"]*)"', head.decode()))
        found[words["name"]] = (words.get("filename", ""), content.removesuffix(b"\r\n"))
    return found


@contextmanager
def running(authority: Authority) -> Iterator[Cluster]:
    """A fresh cluster, in a thread with a loop of its own; it ends with the block."""
    certificate, key = authority.certificate("127.0.0.1")
    cluster, sockets = Cluster(), selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(sockets)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(_SECONDS)

    try:
        wait(cluster.start(str(certificate), str(key)))
        yield cluster
    finally:
        wait(cluster.stop())
        gc.collect()  # an answer that was an error has its connection until then
        # Connections end in their own time; one is left, by which the loop hears of other threads.
        until(lambda: len(sockets.get_map()) <= 1, _SECONDS, pause=0.01)
        wait(asyncio.sleep(0.05))  # what closes a connection is one of the loop's next steps
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
        loop.close()
