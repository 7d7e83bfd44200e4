"""Credentials, trust, and the client that may be missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lvslab.core.errors import InputError, MissingError
from lvslab.deploy import credentials, platforms, trust
from lvslab.deploy.credentials import SECRET, USER, Credentials


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = credentials.find("vc", "file", {USER: "me", SECRET: "s3cret"}, None)
    assert found == Credentials("me", "s3cret")
    assert credentials.find("vc", "file", {SECRET: "s3cret"}, None).user == "file"


def test_then_a_keyring_then_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {("lvslab vc", "me"): "from the keyring"}
    keyring = SimpleNamespace(get_password=lambda service, user: kept.get((service, user)))
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    asked: list[tuple[str, bool]] = []

    def ask(question: str, hidden: bool) -> str:
        asked.append((question, hidden))
        return "typed"

    assert credentials.find("vc", "me", {}, ask).secret == "from the keyring"
    assert asked == []
    assert credentials.find("other", None, {}, ask) == Credentials("typed", "typed")
    assert asked == [("user for other", False), ("password of typed for other", True)]


def test_a_keyring_that_is_locked_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(service: str, user: str) -> str:
        raise RuntimeError("locked")

    for module in (SimpleNamespace(get_password=locked), None):
        monkeypatch.setitem(sys.modules, "keyring", module)
        with pytest.raises(InputError) as caught:
            credentials.find("vc", "me", {}, None)
        assert str(caught.value) == (
            "there is no password of me for vc\n  to fix it: set LVSLAB_DEPLOY_PASSWORD, or put "
            "it into a keyring (package keyring), or use a terminal"
        )


def test_no_text_of_credentials_has_the_secret() -> None:
    who = Credentials("me", "s3cret")
    assert "s3cret" not in f"{who} {who!r}"


def test_addresses() -> None:
    assert trust.Address.of("vc.school", 443) == trust.Address("vc.school", 443)
    assert trust.Address.of("vc.school:8443", 443) == trust.Address("vc.school", 8443)
    assert trust.Address.of("[fd00::1]:8006", 443) == trust.Address("fd00::1", 8006)
    for wrong in ("https://vc", "a b", ""):
        with pytest.raises(InputError, match="is no name of a server"):
            trust.Address.of(wrong, 443)


def test_a_file_without_certificates(tmp_path: Path) -> None:
    server = trust.Address("vc", 443)
    (tmp_path / "empty.pem").write_text("nothing\n")
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(InputError, match="no certificates can be read"):
            trust.context(server, tmp_path / name, None)


@pytest.mark.parametrize("name", list(platforms.PLATFORMS))
def test_a_missing_client_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in [
        known
        for known in sys.modules
        if known.startswith(("lvslab.deploy.vsphere", "lvslab.deploy.proxmox"))
    ]:
        monkeypatch.delitem(sys.modules, known)
    for client in ("pyVmomi", "pyVim", "pyVim.connect", "proxmoxer", "proxmoxer.core"):
        monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(MissingError) as caught:
        platforms.connect(name)
    assert f"the Python package for {platforms.PLATFORMS[name].title} is missing" in str(
        caught.value
    )
    monkeypatch.undo()


def test_the_help_names_the_engines_of_the_table() -> None:
    from lvslab.cli import deploy

    assert {name: this.title for name, this in platforms.PLATFORMS.items()} == deploy._TITLES
