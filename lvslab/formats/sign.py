"""The signature of SHA256SUMS: with the user's own SSH key, or with a key of gpg.

Source: ssh-keygen(1), "-Y sign", and its ALLOWED SIGNERS; gpg(1) "--detach-sign", gpgv(1).
"""

from __future__ import annotations

from pathlib import Path

from lvslab.core.errors import CheckFailed, InputError, StageError
from lvslab.core.files import remove
from lvslab.core.procs import run
from lvslab.formats import sums

NAMESPACE = "lvslab"
SSH, GPG = f"{sums.NAME}.sig", f"{sums.NAME}.asc"


def sign(folder: Path, key: str | None) -> Path | None:
    """Sign `folder`/SHA256SUMS and return the signature; without a key only drop a stale one.

    `key` is the file of an SSH key (private, or public with the private one in the agent),
    or else a key id that gpg knows. Raises InputError if it cannot sign, MissingError if the
    program that signs is not installed.
    """
    for name in (SSH, GPG):
        remove(folder / name)
    if key is None:
        return None
    try:
        if Path(key).is_file():
            run(
                ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, folder / sums.NAME],
                what="signing",
            )
            return folder / SSH
        signed: list[str | Path] = ["--output", folder / GPG, "--detach-sign", folder / sums.NAME]
        run(["gpg", "--batch", "--armor", "--local-user", key, *signed], what="signing")
        return folder / GPG
    except StageError as error:
        raise InputError(
            error.message,
            where=f"--sign {key}",
            hint="give the file of an SSH key (ssh-add it first if it has a passphrase), "
            "or the id of one of gpg's keys",
        ) from None


def signer(folder: Path, signers: Path) -> str:
    """Who signed `folder`/SHA256SUMS, by the file `signers`.

    `signers` is an allowed_signers file of OpenSSH for an SSH signature, and a keyring for
    gpg's. Raises CheckFailed: no signature, an unknown key, or other sums than were signed;
    MissingError: no ssh-keygen or gpgv here, so nothing is known of the signature.
    """
    if (folder / SSH).is_file():
        return _ssh(folder, signers.absolute())
    if (folder / GPG).is_file():
        return _gpg(folder, signers.absolute())
    raise CheckFailed(f"there is neither {SSH} nor {GPG}: nobody signed", where=str(folder))


def _ssh(folder: Path, signers: Path) -> str:
    words: list[str | Path] = ["ssh-keygen", "-Y"]
    signature = ["-f", str(signers), "-s", str(folder / SSH)]
    try:
        found = run([*words, "find-principals", *signature], what="finding the signer")
    except StageError:
        raise CheckFailed("it is signed by nobody in the list of signers", where=SSH) from None
    name = found.splitlines()[0].strip()
    try:
        run(
            [*words, "verify", *signature, "-I", name, "-n", NAMESPACE],
            what="checking the signature",
            stdin=(folder / sums.NAME).read_bytes(),
        )
    except StageError:
        raise CheckFailed(f"these are not the sums that {name} signed", where=SSH) from None
    return name


def _gpg(folder: Path, keyring: Path) -> str:
    try:
        said = run(
            ["gpgv", "--status-fd", "1", "--keyring", keyring, folder / GPG, folder / sums.NAME],
            what="checking the signature",
        )
    except StageError:
        raise CheckFailed("no key of the keyring signed these sums", where=GPG) from None
    good = next(line for line in said.splitlines() if line.startswith("[GNUPG:] GOODSIG "))
    return good.split(" ", 3)[3]
