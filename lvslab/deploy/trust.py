"""Which server is the right one: TLS is always checked, by certificates or by a thumbprint."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import InputError, StageError

_SECONDS = 20
_ALGORITHMS = {64: "sha256", 40: "sha1"}


@dataclass(frozen=True)
class Address:
    """A host and a port of TCP."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str, port: int) -> Address:
        """`host`, `host:port` or `[v6]:port`; `port` if the text has none. Raises InputError."""
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:/\s]+))(?::(\d{1,5}))?", text)
        if not found:
            raise InputError(
                f"{text!r} is no name of a server", hint="write host or host:port, without https://"
            )
        return cls(found[1] or found[2], int(found[3] or port))


def context(server: Address, ca: Path | None, thumbprint: str | None) -> ssl.SSLContext:
    """How to open connections to a server.

    Trusted is exactly the certificate with the SHA-256 `thumbprint`, if there is one; else what
    the file `ca` vouches for; else what this system does. Raises InputError if the file cannot
    be read or the server shows another certificate.
    """
    if thumbprint:
        if len(_hex(thumbprint)) != 64:
            raise InputError(
                "a thumbprint is the SHA-256 of the certificate: 64 digits and letters a to f",
                hint="openssl x509 -in FILE -noout -fingerprint -sha256, on the server",
            )
        return pinned(server, thumbprint)
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"no certificates can be read: {error}", where=str(ca)) from None


def pinned(server: Address, thumbprint: str) -> ssl.SSLContext:
    """Trust for the one certificate of a server that has this thumbprint (SHA-256 or SHA-1).

    It is fetched here, and nothing is sent; each later connection must show the same one.
    """
    wanted, shown = _hex(thumbprint), _certificate(server)
    algorithm = _ALGORITHMS.get(len(wanted), "sha256")
    found = hashlib.new(algorithm, shown).hexdigest()
    if found != wanted:
        raise InputError(
            f"{server.host} shows a certificate whose {algorithm} is {found}, not {wanted}",
            hint="compare it with the certificate on the server itself; if nobody changed that, "
            "somebody is between you and the server",
        )
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.check_hostname = False  # one certificate is trusted, whatever names are in it
    trusted.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusted.load_verify_locations(cadata=shown)
    return trusted


def refused(server: Address, error: Exception) -> InputError:
    """The error for a server whose certificate is not trusted."""
    return InputError(
        f"the certificate of {server.host} is not trusted: {error}",
        hint="give its authority (--ca FILE), or for a self-signed one --thumbprint SHA256",
    )


def unreachable(server: Address, error: Exception) -> StageError:
    """The error for a server that does not answer."""
    return StageError(
        f"{server.host}, port {server.port}, cannot be reached: {error}",
        hint="check the name in the site file, and the network",
    )


def _hex(thumbprint: str) -> str:
    return re.sub(r"[^0-9a-f]", "", thumbprint.lower())


def _certificate(server: Address) -> bytes:
    """What a server shows, as DER. Nothing is trusted yet, and nothing is sent."""
    looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((server.host, server.port), timeout=_SECONDS) as plain,
            looking.wrap_socket(plain, server_hostname=server.host) as secure,
        ):
            shown = secure.getpeercert(binary_form=True)
    except OSError as error:
        raise unreachable(server, error) from None
    assert shown is not None
    return shown
