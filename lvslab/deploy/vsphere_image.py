"""An OVA becomes the template of linked clones on vSphere.

Source: vSphere Web Services API, OvfManager and HttpNfcLease. Network cards and CD-ROM drives of
the OVA are left out: each clone gets those that lab.yaml says.
"""

from __future__ import annotations

import ssl
import tarfile
from typing import Any

from pyVmomi import vim

from lvslab.core.errors import InputError, StageError
from lvslab.core.events import Listener, StageProgress
from lvslab.core.waiting import until
from lvslab.deploy import trust, upload
from lvslab.deploy.trust import Address
from lvslab.deploy.vsphere_inventory import Inventory
from lvslab.deploy.vsphere_machine import MARK
from lvslab.deploy.wanted import WantedImage

SNAPSHOT = "lvslab"
_LEASE_SECONDS = 300
_MIB = 1 << 20


def import_image(
    places: Inventory, wanted: WantedImage, trusted: ssl.SSLContext, listener: Listener
) -> None:
    """Import the OVA, take the snapshot that clones are made of, mark it as a template.

    An image without the snapshot was not made to the end.
    """
    with tarfile.open(wanted.ova) as archive:
        names = archive.getnames()
        if not names or not names[0].endswith(".ovf"):
            raise InputError("the first file in it is no .ovf", where=str(wanted.ova))
        content = archive.extractfile(names[0])
        assert content is not None
        spec = _spec(places, wanted, content.read().decode())
        lease = places.cluster.resourcePool.ImportVApp(spec.importSpec, places.folder)
        until(lambda: lease.state, _LEASE_SECONDS, good=lambda state: state != "initializing")
        if lease.state != vim.HttpNfcLease.State.ready:
            raise StageError(f"vSphere does not take the image: {lease.error}")
        try:
            for item in spec.fileItem:
                _send(places, lease, archive, item, trusted, listener)
        except BaseException:
            lease.HttpNfcLeaseAbort()
            raise
        machine = lease.info.entity
        lease.HttpNfcLeaseComplete()
    text = "what the lab's machines are linked clones of"
    places.done(machine.CreateSnapshot_Task(SNAPSHOT, text, False, False))
    machine.MarkAsTemplate()


def _spec(places: Inventory, wanted: WantedImage, descriptor: str) -> Any:
    parameters = vim.OvfManager.CreateImportSpecParams(
        entityName=wanted.name, diskProvisioning="thin", locale="", deploymentOption=""
    )
    manager = places.session.content.ovfManager
    spec = manager.CreateImportSpec(
        descriptor, places.cluster.resourcePool, places.datastore, parameters
    )
    if spec.error:
        raise StageError(
            "vSphere does not take the image: " + "; ".join(str(e.msg) for e in spec.error)
        )
    config = spec.importSpec.configSpec
    unwanted = (vim.vm.device.VirtualEthernetCard, vim.vm.device.VirtualCdrom)
    config.deviceChange = [
        change for change in config.deviceChange if not isinstance(change.device, unwanted)
    ]
    mark = vim.option.OptionValue(key=MARK, value=wanted.mark.text)
    config.extraConfig = [*config.extraConfig, mark]
    return spec


def _send(
    places: Inventory,
    lease: Any,
    archive: tarfile.TarFile,
    item: Any,
    trusted: ssl.SSLContext,
    listener: Listener,
) -> None:
    """Send one file of the OVA to where the lease says. A lease that hears nothing ends."""
    member, content = archive.getmember(item.path), archive.extractfile(item.path)
    assert content is not None
    target = next(url for url in lease.info.deviceUrl if url.importKey == item.deviceId)
    address = places.address
    url = target.url.replace("//*/", f"//{address.host}:{address.port}/")
    if target.sslThumbprint and not url.startswith(f"https://{address.host}"):
        # An ESXi host takes the disk; vCenter says by which certificate it is known.
        host = Address.of(url.removeprefix("https://").partition("/")[0], 443)
        trusted = trust.pinned(host, target.sslThumbprint)

    def tell(gone: int) -> None:
        lease.HttpNfcLeaseProgress(gone * 100 // max(member.size, 1))
        stage = "make images"
        listener(StageProgress(stage, gone // _MIB, member.size // _MIB, "MiB", item.path))

    method = "PUT" if item.create else "POST"
    headers = {"Content-Type": "application/x-vnd.vmware-streamVmdk", "Overwrite": "t"}
    upload.send(url, method, content, member.size, trusted, headers, tell)
