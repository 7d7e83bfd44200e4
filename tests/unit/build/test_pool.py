"""What is fetched has the bytes of the lock, or it is not used."""

from __future__ import annotations

import hashlib
import http.server
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lvslab.build import pool as pool_module
from lvslab.build.lockfile import Package
from lvslab.build.mirror import Mirrors
from lvslab.build.pool import Download, Pool
from lvslab.core.errors import StageError
from lvslab.core.waiting import until

ROOT = Path(__file__).resolve().parents[3]
GOOD = b"the package" * 1000


def package(
    content: bytes = GOOD, path: str = "pool/main/a/a_1_amd64.deb", archive: str = "debian"
) -> Package:
    digest = hashlib.sha256(content).hexdigest()
    return Package("a", "1", "amd64", digest, len(content), archive, path)


class Mirror(http.server.ThreadingHTTPServer):
    """A mirror on the loopback interface; `answers` maps a path to body and announced length."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[bytes, int]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in self.server.answers:
            self.send_error(404)
            return
        body, length = self.server.answers[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def pool(folder: Path, *bases: str, offline: bool = False) -> Pool:
    return Pool(folder, Mirrors({"debian": bases, "debian-security": bases}), offline)


def test_a_package_is_fetched_once_and_kept_by_its_sum(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD, len(GOOD))
    for _ in range(2):
        (path,) = pool(tmp_path, mirror.url).get([package()])
    assert (path.read_bytes(), len(mirror.asked)) == (GOOD, 1)


def test_a_kept_file_that_rotted_is_fetched_again(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD, len(GOOD))
    (path,) = pool(tmp_path, mirror.url).get([package()])
    path.write_bytes(b"x" + GOOD[1:])
    pool(tmp_path, mirror.url).get([package()])
    assert (path.read_bytes(), len(mirror.asked)) == (GOOD, 2)


def test_wrong_bytes_are_refused_and_not_kept(tmp_path: Path, mirror: Mirror) -> None:
    wrong = b"x" + GOOD[1:]
    mirror.answers[f"/{package().path}"] = (wrong, len(wrong))
    with pytest.raises(StageError, match="wrong sha256") as caught:
        pool(tmp_path, mirror.url).get([package()])
    assert "a_1_amd64.deb" in caught.value.message
    assert "lock --update" in caught.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_mirror_that_ends_in_the_middle_is_named(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD[:100], len(GOOD))
    with pytest.raises(StageError, match=r"100 of 11000 bytes|100 bytes read"):
        pool(tmp_path, mirror.url).get([package()])


def test_the_next_mirror_is_asked_when_the_first_has_moved_on(
    tmp_path: Path, mirror: Mirror
) -> None:
    mirror.answers[f"/archive/{package().path}"] = (GOOD, len(GOOD))
    (path,) = pool(tmp_path, mirror.url, f"{mirror.url}/archive").get([package()])
    assert path.read_bytes() == GOOD
    assert mirror.asked == [f"/{package().path}", f"/archive/{package().path}"]


def test_gone_everywhere_names_package_and_mirrors(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(StageError, match="the mirror answers 404") as caught:
        pool(tmp_path, mirror.url).get([package()])
    assert mirror.url in caught.value.message


def test_no_mirror_listens(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="Connection refused"):
        pool(tmp_path, "http://127.0.0.1:9").get([package()])


def test_offline_takes_what_is_kept_and_asks_nobody(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD, len(GOOD))
    with pytest.raises(StageError, match="--offline forbids"):
        pool(tmp_path, mirror.url, offline=True).get([package()])
    pool(tmp_path, mirror.url).get([package()])
    pool(tmp_path, mirror.url, offline=True).get([package()])
    assert len(mirror.asked) == 1


def test_what_was_fetched_before_a_failure_is_kept(tmp_path: Path, mirror: Mirror) -> None:
    there = package(b"there", "pool/main/b/b_1_amd64.deb")
    mirror.answers[f"/{there.path}"] = (b"there", 5)
    both = pool(tmp_path, mirror.url)
    with pytest.raises(StageError):
        both.get([there, package()])
    assert both.path(there).read_bytes() == b"there"


def test_a_download_outlives_another_that_ends_beside_it(tmp_path: Path, mirror: Mirror) -> None:
    """Stages that run side by side fetch for themselves, from one process."""
    other = package(b"there", "pool/main/b/b_1_amd64.deb")
    mirror.answers[f"/{other.path}"] = (b"there", 5)
    with ThreadPoolExecutor() as executor, socket.create_server(("127.0.0.1", 0)) as slow:
        url = f"http://127.0.0.1:{slow.getsockname()[1]}"
        first = executor.submit(pool(tmp_path, url).get, [package()])
        # Once to look ahead, which is the download as well: only one package is missing.
        with slow.accept()[0] as client:
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode())
            assert until(lambda: any(tmp_path.rglob("*.part")), 10)
            pool(tmp_path, mirror.url).get([other])
            client.sendall(GOOD)
        (path,) = first.result()
    assert path.read_bytes() == GOOD


GETTER = """
import sys
from pathlib import Path
from lvslab.cli.signals import watched
from lvslab.core.stages import Stages
from tests.unit.build.test_pool import package, pool
try:
    with watched():
        Stages(Path(sys.argv[1]), print).run(
            "pool", {}, lambda folder, _: pool(folder, sys.argv[2]).get([package()])
        )
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 11000\r\n\r\nhalf"])
def test_an_interrupt_does_not_wait_for_a_mirror_that_hangs(tmp_path: Path, begins: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", GETTER, tmp_path, url],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        with process, server.accept()[0] as client:
            client.sendall(begins)
            time.sleep(0.5)
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate()
    assert process.returncode == 130
    assert time.monotonic() - asked < 5
    assert said == "StageStarted(stage='pool')\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_address_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no address has") as caught:
        pool(tmp_path, "http://127.0.0.1:9/gr\u00fcn").get([package()])
    assert "http://127.0.0.1:9/gr\u00fcn/pool" in caught.value.message


SMALL, LARGE = b"a fix", b"a large fix" * 1000
SECURITY = (
    package(LARGE, "pool/updates/main/l_1_amd64.deb", "debian-security"),
    package(SMALL, "pool/updates/main/s_1_amd64.deb", "debian-security"),
)


def looking_ahead(folder: Path, mirror: Mirror, *, offline: bool = False) -> Pool:
    """A pool of a run that needs `SECURITY`, too, on a host without that archive."""
    mirrors = Mirrors(
        {"debian": (mirror.url,), "debian-security": (f"{mirror.url}/sec",)}, ("debian-security",)
    )
    return Pool(folder, mirrors, offline, lambda: (package(), *SECURITY))


def test_an_archive_that_cannot_be_reached_is_found_before_the_first_download(
    tmp_path: Path, mirror: Mirror
) -> None:
    others = [package(b"%d" % n, f"pool/main/{n}.deb") for n in range(20)]
    for item, body in ((package(), GOOD), *((o, b"%d" % n) for n, o in enumerate(others))):
        mirror.answers[f"/{item.path}"] = (body, len(body))
    ours = looking_ahead(tmp_path, mirror)
    for _ in range(2):  # the second stage gets the same, and nobody is asked again
        with pytest.raises(StageError) as caught:
            ours.get(others)
    assert caught.value.message == (
        "no address has s_1_amd64.deb with the bytes that the lock names\n"
        "    the package sources of this host (/etc/apt) have no archive debian-security, "
        "so only public addresses were asked\n"
        f"    {mirror.url}/sec/pool/updates/main/s_1_amd64.deb: the mirror answers 404 Not Found"
    )
    assert caught.value.where == "debian-security"
    assert "add debian-security to the package sources of this host" in caught.value.hint
    assert sorted(mirror.asked) == [f"/{package().path}", "/sec/pool/updates/main/s_1_amd64.deb"]


def test_archives_that_answer_are_asked_once_for_their_smallest_file(
    tmp_path: Path, mirror: Mirror
) -> None:
    for item, body in zip((package(), *SECURITY), (GOOD, LARGE, SMALL), strict=True):
        place = "/sec" if item.archive == "debian-security" else ""
        mirror.answers[f"{place}/{item.path}"] = (body, len(body))
    ours = looking_ahead(tmp_path, mirror)
    ours.get([package()])
    assert "/sec/pool/updates/main/s_1_amd64.deb" in mirror.asked
    assert len(mirror.asked) == 2
    ours.get([package(), *SECURITY])
    assert len(mirror.asked) == 3


def test_what_is_kept_and_what_is_offline_asks_no_archive(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD, len(GOOD))
    pool(tmp_path, mirror.url).get([package()])
    looking_ahead(tmp_path, mirror).get([package()])
    with pytest.raises(StageError, match="--offline forbids"):
        looking_ahead(tmp_path, mirror, offline=True).get([package(), *SECURITY])
    assert mirror.asked == [f"/{package().path}"]


def test_no_archive_answers_and_all_are_named(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(StageError) as caught:
        looking_ahead(tmp_path, mirror).get([package()])
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines if line[0] != " "] == [
        "debian-security",
        "debian",
    ]


def test_an_address_where_nobody_listens_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = pool_module._download

    def counted(url: str, item: Download, target: Path) -> None:
        asked.append(url)
        real(url, item, target)

    monkeypatch.setattr(pool_module, "_download", counted)
    with pytest.raises(StageError, match="Connection refused"):
        pool(tmp_path, "http://127.0.0.1:9").get([package()])
    assert len(asked) == 1


@pytest.mark.parametrize("failures, found", [(2, True), (3, False)])
def test_a_name_that_cannot_be_resolved_for_the_moment_is_asked_for_again(
    tmp_path: Path,
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    found: bool,
) -> None:
    mirror.answers[f"/{package().path}"] = (GOOD, len(GOOD))
    resolve, left = socket.getaddrinfo, [socket.gaierror(socket.EAI_AGAIN, "later")] * failures

    def resolver(*words: Any, **more: Any) -> Any:
        if left:
            raise left.pop()
        return resolve(*words, **more)

    monkeypatch.setattr("lvslab.build.pool._RESOLVER_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    if found:
        assert pool(tmp_path, mirror.url).get([package()])
    else:
        with pytest.raises(StageError, match="later"):
            pool(tmp_path, mirror.url).get([package()])
