"""Rules for a folder of artifacts as a whole, and for a part of one that must be vouched for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from lvslab.core.errors import CheckFailed
from lvslab.core.files import sha256_file
from lvslab.formats import sign, sums
from lvslab.verify.rules import Refused, RuleSet, Unreadable, demand

FOLDER: RuleSet[Folder] = RuleSet()


class Folder:
    """A folder with a SHA256SUMS; `signers` is the file of those who may have signed it."""

    def __init__(self, path: Path, signers: Path | None = None) -> None:
        self.path = path
        self.signers = signers

    @cached_property
    def sums(self) -> dict[str, str]:
        """What SHA256SUMS says; raises Unreadable."""
        try:
            return sums.read(self.path)
        except CheckFailed as error:
            raise Unreadable(error.message) from None
        except UnicodeDecodeError:
            raise Unreadable(f"{sums.NAME} is not UTF-8 text") from None


@FOLDER.rule(
    "sums-form",
    "SHA256SUMS is what sha256sum -c reads",
    "sha256sum: 'no properly formatted checksum lines found'",
)
def _form(folder: Folder) -> str:
    try:
        return f"{len(folder.sums)} sums"
    except Unreadable as error:
        raise Refused(str(error)) from None


@FOLDER.rule(
    "sums-complete",
    "every artifact has its sum",
    "nobody refuses it: a file without a sum may be somebody else's",
)
def _complete(folder: Folder) -> str:
    there = {p.relative_to(folder.path).as_posix() for p in sums.artifacts(folder.path)}
    for name in sorted(there - folder.sums.keys()):
        raise Refused(f"{name} has no sum")
    return f"{len(there)} files, all with a sum"


@FOLDER.rule(
    "sums-match",
    "each file is there and has its sum",
    "sha256sum -c: FAILED",
)
def _match(folder: Folder) -> str:
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda name: _digest(folder.path / name), folder.sums)
    for (name, wanted), digest in zip(folder.sums.items(), found, strict=True):
        demand(digest is not None, f"{name} is not there")
        demand(digest == wanted, f"{name} has sha256 {digest}, the sums say {wanted}")
    return "all sums match"


def _digest(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


@FOLDER.rule(
    "sums-signed",
    "SHA256SUMS is signed by one of the signers given",
    "ssh-keygen -Y verify: 'Could not verify signature'",
)
def _signed(folder: Folder) -> str:
    if folder.signers is None:
        raise Unreadable("no signers were given")
    return _signer(folder.path, folder.signers)


def _signer(folder: Path, signers: Path) -> str:
    try:
        return f"signed by {sign.signer(folder, signers)}"
    except CheckFailed as error:
        raise Refused(error.message) from None


PART: RuleSet[FolderPart] = RuleSet()


class FolderPart:
    """`files` of `path` (a file, or a folder without sums of its own), and who may vouch for them.

    The SHA256SUMS that counts is the nearest above.
    """

    def __init__(self, path: Path, files: Sequence[Path], signers: Path) -> None:
        self.path = path
        self.files = files
        self.signers = signers

    @cached_property
    def above(self) -> Path | None:
        """The folder whose SHA256SUMS counts, None if there is none."""
        parents = self.path.absolute().parents
        return next((folder for folder in parents if (folder / sums.NAME).is_file()), None)


@PART.rule(
    "part-signed",
    "the SHA256SUMS of its folder, or of one above, is signed by one of the signers given",
    "ssh-keygen -Y verify: 'Could not verify signature'",
)
def _part_signed(part: FolderPart) -> str:
    if part.above is None:
        raise Refused(f"there is no {sums.NAME} in its folder or above: nobody vouches for it")
    return _signer(part.above, part.signers)


@PART.rule(
    "part-sums",
    "the file has its sum in that SHA256SUMS",
    "sha256sum -c: FAILED",
)
def _part_sums(part: FolderPart) -> str:
    if part.above is None:
        raise Unreadable(f"there is no {sums.NAME}")
    there = Folder(part.above).sums
    for file in part.files:
        name = file.absolute().relative_to(part.above).as_posix()
        demand(name in there, f"{name} has no sum")
        digest = sha256_file(file)
        wanted = there[name]
        demand(digest == wanted, f"{name} has sha256 {digest}, the sums say {wanted}")
    return f"{len(part.files)} files, all with their sum"
