"""OVAs as other programs write them: right ones, and nothing like this lab's.

Written after what ovftool 4, vSphere 8 and VirtualBox 7 export. Sums are computed last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvslab.formats import vmdk
from lvslab.formats.vmdk.layout import (
    DIRECTORY_AT_END,
    GRAIN_SECTORS,
    MARKER,
    SECTOR,
    TABLE_ENTRIES,
    Header,
    ceiling,
)
from tests.appliance import MIB, run

STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_NAMESPACES = {
    "": "http://schemas.dmtf.org/ovf/envelope/1",
    ":ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    ":rasd": f"{_CIM}CIM_ResourceAllocationSettingData",
    ":vssd": f"{_CIM}CIM_VirtualSystemSettingData",
    ":vmw": "http://www.vmware.com/schema/ovf",
    ":vbox": "http://www.virtualbox.org/ovf/machine",
}


@dataclass(frozen=True)
class Foreign:
    """An OVA before it is packed: its members in order; `manifest` stands for that of the rest."""

    name: str
    members: Sequence[tuple[str, bytes]]
    algorithm: str = "sha256"
    line: str = "{algorithm}({name})= {digest}"
    owner: tuple[int, str] = (0, "")
    capitals: bool = False

    def digest(self, data: bytes) -> str:
        """The hex digest of a member."""
        text = hashlib.new(self.algorithm, data).hexdigest()
        return text.upper() if self.capitals else text

    def manifest(self) -> bytes:
        """The manifest in this program's own way."""
        lines = [
            self.line.format(
                algorithm=self.algorithm.upper(),
                name=name,
                digest=self.digest(data),
            )
            for name, data in self.members
            if not name.endswith((".mf", ".cert"))
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    def write(self, path: Path) -> Path:
        """Pack it."""
        with tarfile.open(path, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in self.members:
                content = self.manifest() if name.endswith(".mf") else data
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(content), 1_700_000_000, 0o640
                info.uid, info.uname = self.owner
                tar.addfile(info, io.BytesIO(content))
        return path


def device(kind: int, **values: object) -> str:
    """An Item with its children in the schema's order."""
    every = {"ResourceType": kind, "ElementName": f"device {kind}", **values}
    children = "".join(f"<rasd:{key}>{every[key]}</rasd:{key}>" for key in sorted(every))
    return f"<Item>{children}</Item>"


def envelope(files: str, disks: str, network: str, machine: str, end: str = "") -> bytes:
    """An OVF of these parts."""
    spaces = " ".join(f'xmlns{key}="{value}"' for key, value in _NAMESPACES.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Envelope {spaces}>'
        f"<References>{files}</References>"
        f"<DiskSection><Info>Virtual disks</Info>{disks}</DiskSection>"
        f'<NetworkSection><Info>Networks</Info><Network ovf:name="{network}"/></NetworkSection>'
        f'<VirtualSystem ovf:id="vm"><Info>A machine</Info>{machine}</VirtualSystem>{end}'
        "</Envelope>\n"
    ).encode()


def hardware(family: str, *devices: str, settings: str = "") -> str:
    """The VirtualHardwareSection of these devices."""
    return (
        "<VirtualHardwareSection><Info>Hardware</Info><System>"
        "<vssd:ElementName>Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>"
        f"<vssd:VirtualSystemType>{family}</vssd:VirtualSystemType></System>"
        f"{''.join(devices)}{settings}</VirtualHardwareSection>"
    )


def with_footer(data: bytes) -> bytes:
    """The same disk as VMware's programs write it: tables, directory and footer behind the grains.

    Source: VMware, "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents".
    """
    header = Header.unpack(data[:SECTOR])
    start = header.descriptor_offset * SECTOR
    text = data[start : start + header.descriptor_size * SECTOR]
    text = text.replace(b"\nRW ", b"\nRDONLY ").replace(b'"lsilogic"', b'"buslogic"')
    out = bytearray(data[:SECTOR] + text[: header.descriptor_size * SECTOR])
    out += bytes(GRAIN_SECTORS * SECTOR - len(out))
    count = ceiling(ceiling(header.capacity, GRAIN_SECTORS), TABLE_ENTRIES)
    entries = [0] * (count * TABLE_ENTRIES)
    place = header.overhead * SECTOR
    while (marker := struct.unpack_from("<QI", data, place))[1]:
        length = ceiling(12 + marker[1], SECTOR) * SECTOR
        entries[marker[0] // GRAIN_SECTORS] = len(out) // SECTOR
        out += data[place : place + length]
        place += length
    directory = []
    for table in range(count):
        out += MARKER.pack(TABLE_ENTRIES * 4 // SECTOR, 0, 1).ljust(SECTOR, b"\0")
        directory.append(len(out) // SECTOR)
        out += struct.pack(f"<{TABLE_ENTRIES}I", *entries[table * TABLE_ENTRIES :][:TABLE_ENTRIES])
    out += MARKER.pack(ceiling(count * 4, SECTOR), 0, 2).ljust(SECTOR, b"\0")
    footer = dataclasses.replace(
        header, directory_offset=len(out) // SECTOR, overhead=GRAIN_SECTORS
    )
    out += struct.pack(f"<{count}I", *directory).ljust(ceiling(count * 4, SECTOR) * SECTOR, b"\0")
    out += MARKER.pack(1, 0, 3).ljust(SECTOR, b"\0") + footer.pack() + bytes(SECTOR)
    out[:SECTOR] = dataclasses.replace(footer, directory_offset=DIRECTORY_AT_END).pack()
    return bytes(out)


def data_disk(folder: Path, files: dict[str, bytes] | None = None) -> bytes:
    """A VMDK of a disk without partitions: one ext4."""
    top, raw = folder / "data", folder / "data.raw"
    top.mkdir(exist_ok=True)
    for name, content in (files or {"table": b"1,2\n"}).items():
        (top / name).write_bytes(content)
    raw.unlink(missing_ok=True)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", top, raw, "4m")
    vmdk.write_stream_optimized(raw, folder / "data.vmdk")
    return (folder / "data.vmdk").read_bytes()


def ovftool_like(disk: bytes, capacity: int, data: bytes) -> Foreign:
    """With a certificate, an .nvram, a second disk, capacities in MiB, and Strings at the end."""
    name, nvram = "Ubuntu Server", b"\x01MRVN" + bytes(8000)
    disk = with_footer(disk)
    files = (
        f'<File ovf:href="{name}-disk1.vmdk" ovf:id="file1" ovf:size="{len(disk)}"/>'
        f'<File ovf:href="{name}-disk2.vmdk" ovf:id="file2" ovf:size="{len(data)}"/>'
        f'<File ovf:href="{name}-file1.nvram" ovf:id="file3" ovf:size="{len(nvram)}"/>'
    )
    unit = f'ovf:capacityAllocationUnits="byte * 2^20" ovf:format="{STREAM}"'
    disks = (
        f'<Disk ovf:capacity="{capacity // MIB}" {unit} ovf:diskId="vmdisk1" ovf:fileRef="file1"/>'
        f'<Disk ovf:capacity="4" {unit} ovf:diskId="vmdisk2" ovf:fileRef="file2"/>'
    )
    machine = (
        f"<Name>{name}</Name>"
        '<OperatingSystemSection ovf:id="94" vmw:osType="ubuntu64Guest"><Info>OS</Info>'
        "</OperatingSystemSection>"
    ) + hardware(
        "vmx-19",
        device(3, InstanceID=1, AllocationUnits="hertz * 10^6", VirtualQuantity=2),
        device(4, InstanceID=2, AllocationUnits="byte * 2^20", VirtualQuantity=2048),
        device(6, InstanceID=3, Address=0, ResourceSubType="lsilogic"),
        device(17, InstanceID=4, Parent=3, AddressOnParent=0, HostResource="ovf:/disk/vmdisk1"),
        device(17, InstanceID=5, Parent=3, AddressOnParent=1, HostResource="ovf:/disk/vmdisk2"),
        device(
            10, InstanceID=6, AddressOnParent=7, Connection="bridged", ResourceSubType="VmxNet3"
        ),
        settings='<vmw:ExtraConfig ovf:required="false" vmw:key="nvram" '
        'vmw:value="ovf:/file/file3"/>',
    )
    strings = '<Strings xml:lang="de"><Msg ovf:msgid="a">Eine Maschine</Msg></Strings>'
    members = [
        (f"{name}.ovf", envelope(files, disks, "bridged", machine, strings)),
        (f"{name}.mf", b""),
        (f"{name}.cert", b"SHA256(x.mf)= 00\n-----BEGIN CERTIFICATE-----\n"),
        (f"{name}-disk1.vmdk", disk),
        (f"{name}-disk2.vmdk", data),
        (f"{name}-file1.nvram", nvram),
    ]
    return Foreign(name, members, owner=(64, "someone"))


def vsphere_like(disk: bytes, capacity: int) -> Foreign:
    """On PVSCSI and VM Network, with properties, a newer hardware, sums in capitals."""
    disk = with_footer(disk)
    files = f'<File ovf:href="vm-1.vmdk" ovf:id="file1" ovf:size="{len(disk)}"/>'
    disks = (
        f'<Disk ovf:capacity="{capacity}" ovf:diskId="vmdisk1" ovf:fileRef="file1" '
        f'ovf:format="{STREAM}" ovf:populatedSize="{capacity // 2}"/>'
    )
    machine = (
        "<Name>vm</Name>"
        '<OperatingSystemSection ovf:id="80" ovf:version="9" vmw:osType="rhel9_64Guest">'
        "<Info>OS</Info></OperatingSystemSection>"
        + hardware(
            "vmx-21",
            device(3, InstanceID=1, AllocationUnits="hertz * 10^6", VirtualQuantity=1),
            device(4, InstanceID=2, AllocationUnits="byte * 2^20", VirtualQuantity=4096),
            device(6, InstanceID=3, Address=0, ResourceSubType="VirtualSCSI"),
            device(17, InstanceID=4, Parent=3, AddressOnParent=0, HostResource="ovf:/disk/vmdisk1"),
            device(10, InstanceID=5, AddressOnParent=7, Connection="VM Network",
                   ResourceSubType="VmxNet3"),
            device(24, InstanceID=6, AutomaticAllocation="false"),
            settings='<vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" '
            'vmw:value="true"/>',
        )
        + '<vmw:BootOrderSection vmw:instanceId="4" vmw:type="disk"><Info>Boot order</Info>'
        '</vmw:BootOrderSection><ProductSection ovf:required="false"><Info>Product</Info>'
        "<Product>vm</Product><Category>Network</Category>"
        '<Property ovf:key="ip" ovf:type="string" ovf:userConfigurable="true"/></ProductSection>'
    )  # fmt: skip
    members = [
        ("vm.ovf", envelope(files, disks, "VM Network", machine)),
        ("vm.mf", b""),
        ("vm-1.vmdk", disk),
    ]
    return Foreign("vm", members, capitals=True)


def virtualbox_like(disk: bytes, capacity: int) -> Foreign:
    """On IDE and SATA, memory in MegaBytes, the manifest last, with SHA1 and a blank."""
    name = "Debian (64)"
    files = f'<File ovf:id="file1" ovf:href="{name}-disk001.vmdk"/>'
    disks = (
        f'<Disk ovf:capacity="{capacity}" ovf:diskId="vmdisk1" ovf:fileRef="file1" '
        f'ovf:format="{STREAM}" vbox:uuid="11111111-2222-3333-4444-555555555555"/>'
    )
    machine = (
        '<OperatingSystemSection ovf:id="96"><Info>OS</Info><Description>Debian_64</Description>'
        '<vbox:OSType ovf:required="false">Debian_64</vbox:OSType></OperatingSystemSection>'
        + hardware(
            "virtualbox-2.2",
            device(3, InstanceID=1, Caption="1 virtual CPU", VirtualQuantity=1),
            device(4, InstanceID=2, AllocationUnits="MegaBytes", VirtualQuantity=1024),
            device(5, InstanceID=3, Address=0, ResourceSubType="PIIX4"),
            device(20, InstanceID=4, Address=0, ResourceSubType="AHCI"),
            device(23, InstanceID=5, Address=0),
            device(35, InstanceID=6, AddressOnParent=3, ResourceSubType="ensoniq1371"),
            device(17, InstanceID=7, Parent=4, AddressOnParent=7, HostResource="/disk/vmdisk1"),
            device(15, InstanceID=8, Parent=3, AddressOnParent=0, AutomaticAllocation="true"),
            device(10, InstanceID=9, Connection="NAT", ResourceSubType="E1000"),
        )
        + '<vbox:Machine ovf:required="false" version="1.19-linux" uuid="{22222222-2222-3333-4444-'
        '555555555555}" name="Debian"><ovf:Info>Machine</ovf:Info><Hardware/><StorageControllers>'
        '<StorageController name="SATA" type="AHCI" PortCount="1"><AttachedDevice type="HardDisk" '
        'port="0" device="0"><Image uuid="{11111111-2222-3333-4444-555555555555}"/>'
        '</AttachedDevice><AttachedDevice type="DVD" port="1" device="0"/></StorageController>'
        "</StorageControllers></vbox:Machine>"
    )
    members = [
        (f"{name}.ovf", envelope(files, disks, "NAT", machine)),
        (f"{name}-disk001.vmdk", disk.replace(b'= "lsilogic"', b'= "ide"     ')),
        (f"{name}.mf", b""),
    ]
    return Foreign(
        name, members, "sha1", line="{algorithm} ({name})= {digest}", owner=(1000, "teacher")
    )
