"""Clients that are in the middle of a request, beside one that asks: run where the server is.

`slow_clients.py KIND COUNT [PROGRAM...]`: COUNT clients that send a byte a second (`reader`: that
read one); PROGRAM runs when they are there.
Prints the median of 10 quiet requests, the longest of 20 beside the slow ones (seconds), and
how many of the slow ones still wait. A request that has no answer after 3 s counts 3 s and is
the last.
"""

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time

SERVER = ("127.0.0.1", 80)
BEGUN = {
    "header": b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFF\r\n",
    "reader": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}
PATIENCE = 3.0


def begin(kind: str) -> socket.socket:
    """A slow client."""
    client = socket.socket()
    if kind == "reader":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.connect(SERVER)
    client.sendall(BEGUN[kind])
    client.setblocking(False)
    return client


def go_on(clients: list[socket.socket], kind: str) -> None:
    """Send (or read) a byte of each client every second."""
    while True:
        time.sleep(1)
        for client in clients:
            with contextlib.suppress(OSError):
                if kind == "reader":
                    client.recv(1)
                else:
                    client.send(b"a")


def ask() -> float:
    """The seconds until the page is there."""
    began = time.monotonic()
    with contextlib.suppress(OSError), socket.create_connection(SERVER, PATIENCE) as client:
        client.settimeout(PATIENCE)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            if b" 200 " in answer.readline() and b"</html>" in answer.read():
                return time.monotonic() - began
    return PATIENCE


def connected(client: socket.socket) -> bool:
    """Whether the server still waits: it neither answered nor closed."""
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    ask()
    quiet = statistics.median(ask() for _ in range(10))
    clients = [begin(kind) for _ in range(count)]
    threading.Thread(target=go_on, args=(clients, kind), daemon=True).start()
    time.sleep(0.5)
    if program := sys.argv[3:]:
        subprocess.run(program, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
    worst = 0.0
    for _ in range(20):
        worst = max(worst, ask())
        if worst >= PATIENCE:
            break
        time.sleep(0.1)
    print(f"{quiet:.4f} {worst:.4f} {sum(map(connected, clients))}")


main()
