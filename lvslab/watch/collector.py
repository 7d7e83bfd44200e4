"""The one who looks at the lab for all pages: its senses while it is up, and its end and return."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from lvslab.core.errors import LabError
from lvslab.lab.cluster import Cluster
from lvslab.watch.senses import SENSES, Attention, Sense
from lvslab.watch.sights import LabCame, LabWent, Looked, Sight

_PAUSE_SECONDS = 0.5  # between two looks whether the lab is there

Tell = Callable[[Iterable[Sight]], None]


class Collector:
    """Looks at the lab called `name` from threads of its own, and tells what it sees.

    `tell` is called from these threads.
    """

    def __init__(self, name: str, tell: Tell) -> None:
        self._name, self._tell = name, tell
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def __enter__(self) -> Collector:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and let go of the lab."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            # between its namespace and its wires a lab is not yet there
            with contextlib.suppress(LabError, OSError), self._senses() as cluster:
                place = cluster.namespace.path.stat()
                while not self._ended.wait(_PAUSE_SECONDS) and cluster.namespace.exists():
                    if cluster.namespace.path.stat().st_ino != place.st_ino:
                        break
            self._ended.wait(_PAUSE_SECONDS)

    @contextlib.contextmanager
    def _senses(self) -> Iterator[Cluster]:
        """All senses at work on the running lab. Raises LabError if it does not run."""
        cluster = Cluster.running(self._name)
        ended, attention = threading.Event(), Attention()
        senses: dict[str, Sense] = {}
        threads: list[threading.Thread] = []
        try:
            for name, kind in SENSES.items():
                senses[name] = kind(cluster, attention)
            now = time.monotonic()
            self._tell([LabCame(now, cluster.lab, time.time() - now)])
            for name, sense in senses.items():
                threads.append(threading.Thread(target=self._look, args=(name, sense, ended)))
                threads[-1].start()
            yield cluster
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            for sense in senses.values():
                sense.close()
            if threads:
                self._tell([LabWent(time.monotonic())])

    def _look(self, name: str, sense: Sense, ended: threading.Event) -> None:
        """Look again and again, until the lab or the page has ended."""
        while not ended.is_set():
            start, problem = time.monotonic(), ""
            sights: list[Sight] = []
            try:
                sights = list(sense.look())
            except (LabError, OSError) as error:
                problem = error.message if isinstance(error, LabError) else str(error)
            except KeyboardInterrupt:  # Ctrl-C has stopped the program that it waited for
                return
            now = time.monotonic()
            self._tell([*sights, Looked(now, name, problem)])
            ended.wait(max(0.0, sense.every - (now - start)))
