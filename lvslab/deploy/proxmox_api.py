"""Proxmox VE's API by proxmoxer: logging in, tasks, files, errors in words.

The client's own connections trust more than they should: it hands a file of certificates to a
library that adds those of the system. So the sessions here have an adapter that uses one TLS
context and nothing else.
"""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from proxmoxer.backends.https import (
    JsonSerializer,
    ProxmoxHTTPApiTokenAuth,
    ProxmoxHTTPAuthBase,
    ProxmoxHttpSession,
)
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.deploy import trust
from lvslab.deploy.credentials import Credentials
from lvslab.deploy.trust import Address

_SECONDS = 600
_PAUSES = (0.02, 1.0)
_RENEW = 3600.0
"""Seconds after which a ticket is replaced; it is good for twice as long."""


@contextmanager
def errors_in_words(what: str) -> Iterator[None]:
    """Turn what the client and the server raise into errors for people."""
    try:
        yield
    except LabError:
        raise
    except ResourceException as error:
        told = f"{error.content}" + (f" ({error.errors})" if error.errors else "")
        hint = "docs/deploy.md lists the rights that are needed" if error.status_code == 403 else ""
        raise StageError(f"{what}: {told.strip()}", hint=hint) from None
    except (requests.RequestException, OSError) as error:
        raise StageError(f"{what}: {error}") from None


class _OneContext(HTTPAdapter):
    """Connections with one TLS context: what `requests` itself would trust is not added."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """`assert_hostname`: False would make the library change the context; None leaves it."""
        names = None if self._trusted.check_hostname else False
        options |= {"ssl_context": self._trusted, "assert_hostname": names}
        super().init_poolmanager(*args, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Adds nothing to the context."""


class _Ticket(ProxmoxHTTPAuthBase):  # type: ignore[misc]  # the library has no types
    """A login with a password: a ticket, that is replaced in time."""

    def __init__(self, who: Credentials, address: Address, trusted: ssl.SSLContext) -> None:
        super().__init__(timeout=_SECONDS, verify_ssl=True)
        self._who, self._url = who, f"{_base(address)}/access/ticket"
        self._trusted, self._address = trusted, address
        self._guard = threading.Lock()
        self._log_in()

    def _log_in(self) -> None:
        with requests.Session() as session:
            session.trust_env = False  # else REQUESTS_CA_BUNDLE adds to what is trusted
            session.mount("https://", _OneContext(self._trusted))
            data = {"username": self._who.user, "password": self._who.secret}
            answer = session.post(self._url, data=data, timeout=_SECONDS)
        if answer.status_code == 401:
            raise InputError(
                f"{self._address.host} refuses the user {self._who.user} with this password",
                hint="a user has a realm, as teacher@pve; a token is teacher@pve!name",
            )
        answer.raise_for_status()
        given = answer.json()["data"]
        if given.get("NeedTFA"):
            raise InputError(
                f"{self._who.user} logs in with a second factor, which nobody can type here",
                hint="make an API token, and use it as teacher@pve!name",
            )
        self._given, self._since = given, time.monotonic()

    def get_cookies(self) -> Any:
        """The ticket, as a cookie."""
        with self._guard:
            if time.monotonic() - self._since > _RENEW:
                self._log_in()
        return {"PVEAuthCookie": self._given["ticket"]}

    def __call__(self, req: Any) -> Any:
        req.headers["CSRFPreventionToken"] = self._given["CSRFPreventionToken"]
        return req


def _base(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"https://{host}:{address.port}/api2/json"


class _Renamed(io.BufferedReader):
    """A file under another name: the client sends the name that the object has."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(io.FileIO(path))
        self._name = name

    @property
    def name(self) -> str:
        """The other name."""
        return self._name


class Api:
    """A login. Each thread has a session of its own: those of `requests` are for one thread."""

    def __init__(self, who: Credentials, address: Address, trusted: ssl.SSLContext) -> None:
        """Log in. Raises InputError if the server refuses it or is not trusted."""
        self._address, self._trusted = address, trusted
        self._threads = threading.local()
        self._sessions: list[Any] = []
        try:
            self._auth = self._log_in(who)
            self.root.version.get()
        except requests.exceptions.SSLError as error:
            raise trust.refused(address, error) from None
        except ResourceException as error:
            if error.status_code != 401:
                raise trust.unreachable(address, error) from None
            raise InputError(f"{address.host} refuses the token {who.user}") from None
        except requests.RequestException as error:
            raise trust.unreachable(address, error) from None

    def _log_in(self, who: Credentials) -> Any:
        user, separator, token = who.user.partition("!")
        if separator:
            return ProxmoxHTTPApiTokenAuth(
                user, token, who.secret, timeout=_SECONDS, verify_ssl=True
            )
        return _Ticket(who, self._address, self._trusted)

    @property
    def root(self) -> Any:
        """The API: `root.nodes("pve1").qemu.get()`."""
        if not hasattr(self._threads, "root"):
            session = ProxmoxHttpSession()
            session.trust_env = False
            session.mount("https://", _OneContext(self._trusted))
            session.auth = self._auth
            self._sessions.append(session)
            self._threads.root = ProxmoxResource(
                base_url=_base(self._address), session=session, serializer=JsonSerializer()
            )
        return self._threads.root

    def done(self, upid: str) -> None:
        """Wait for a task. Raises StageError with what it says if it did not end well."""
        task = self.root.nodes(upid.split(":")[1]).tasks(upid).status
        pause, longest = _PAUSES
        while (state := task.get())["status"] != "stopped":
            time.sleep(pause)
            pause = min(2 * pause, longest)
        if state["exitstatus"] != "OK" and not state["exitstatus"].startswith("WARNINGS"):
            raise StageError(state["exitstatus"])

    def upload(self, node: str, storage: str, content: str, path: Path, name: str) -> None:
        """Put a file on a storage, under another name."""
        with _Renamed(path, name) as file:
            target = self.root.nodes(node).storage(storage).upload
            self.done(target.post(content=content, filename=file))

    def close(self) -> None:
        """Close all connections. A ticket ends by itself."""
        for session in self._sessions:
            session.close()
