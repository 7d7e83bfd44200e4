"""The site file: where on a school's cluster the labs go. No password belongs there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lvslab.model.shapes import Strict, shaped

Text = Annotated[str, Field(min_length=1)]
Numbers = Annotated[str, shaped(r"^[0-9]{1,8}-[0-9]{1,8}$", "two numbers, as 3000-3199")]


def pool(numbers: str) -> range:
    """All numbers from the first to the last of `3000-3199`."""
    first, _, last = numbers.partition("-")
    return range(int(first), int(last) + 1)


class Site(Strict):
    """What every platform's site file has."""

    server: Text = Field(description="name or address of the API, with :port if it is not usual")
    user: Text | None = Field(None, description="who logs in; LVSLAB_DEPLOY_USER goes before it")
    ca: Path | None = Field(None, description="certificates to trust in place of the system's")
    thumbprint: Text | None = Field(None, description="SHA-256 of the server's certificate")
    reach: Literal["host", "cluster"] = Field(
        description="host: the networks end at each host; cluster: they connect all hosts"
    )
    tags: Numbers = Field(description="VLANs or VNIs that belong to the labs alone")


class VsphereSite(Site):
    """Where on vSphere."""

    datacenter: Text = Field(description="name of the datacenter")
    cluster: Text = Field(description="name of the cluster of hosts")
    folder: Text | None = Field(None, description="folder of machines, as labs/spring; it exists")
    datastore: Text = Field(description="for the disks; all hosts see it")
    seeds: Text | None = Field(None, description="datastore for the seeds, if it is another")
    switch: Text = Field(description="distributed switch for the labs' networks")


class ProxmoxSite(Site):
    """Where on Proxmox VE."""

    nodes: tuple[Text, ...] = Field(min_length=1, description="nodes that may run the machines")
    storage: Text = Field(description="for the disks; shared, if there are several nodes")
    files: Text = Field(description="of files, for content iso, import and images; nodes share it")
    zone: Text = Field(description="SDN zone for the labs' networks; it exists")
    pool: Text | None = Field(None, description="pool that the machines join; it exists")
    numbers: Numbers = Field(description="numbers of machines (VMIDs) that belong to the labs")
    ha: bool = Field(False, description="a rule of the HA manager keeps directors apart")
