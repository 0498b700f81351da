"""An HTTP proxy that misbehaves as told: it stands between the S3 client and the real server."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum


class Mischief(Enum):
    """What to do with one request."""

    PASS = "pass"
    REFUSE = "refuse"  # close the connection unread
    FAIL_500 = "500"
    FAIL_503 = "503"
    FAIL_403 = "403"
    FAIL_507 = "507"
    FAIL_404_PAGE = "404"  # an HTML page of some other server, as a misconfigured gateway sends it
    STALL = "stall"  # never answer
    CUT = "cut"  # send half of the answer and close
    DROP_REPLY = "drop reply"  # let it happen, then close without an answer
    LATE_REPLY = "late reply"  # let it happen, then never answer


_STATUS = {
    Mischief.FAIL_500: ("500 Internal Server Error", "<Error><Code>InternalError</Code></Error>"),
    Mischief.FAIL_503: ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>"),
    Mischief.FAIL_403: ("403 Forbidden", "<Error><Code>SignatureDoesNotMatch</Code><Token>{secret}</Token></Error>"),
    Mischief.FAIL_507: ("507 Insufficient Storage", "<Error><Code>InsufficientStorage</Code></Error>"),
    Mischief.FAIL_404_PAGE: ("404 Not Found", "<html>not found</html>"),
}
QUOTED = "quoted-secret-header"  # what a refusal quotes back, and no message may show


class FaultProxy:
    """Listens on a free port; each request meets the next mischief of `plan`; when there is none left, `rule` decides."""

    def __init__(self, port: int) -> None:
        self._upstream = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.plan: deque[Mischief] = deque()
        self.rule: Callable[[str], Mischief] = lambda _line: Mischief.PASS  # told the request line
        self.requests: list[str] = []  # request lines, in order
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                request = _read_message(client)
                if request:
                    line = request.split(b"\r\n", 1)[0].decode()
                    mischief = self.plan.popleft() if self.plan else self.rule(line)
                    self.requests.append(line)
                    self._answer(client, request, mischief)
            except OSError:
                return  # the client gave up, as it should

    def _answer(self, client: socket.socket, request: bytes, mischief: Mischief) -> None:
        if mischief is Mischief.REFUSE:
            return
        if mischief is Mischief.STALL:
            self._closed.wait()
            return
        if mischief in _STATUS:
            status, body = _STATUS[mischief]
            client.sendall(_answer(status, body.format(secret=QUOTED)))
            return
        answer = self._ask(request)
        if mischief is Mischief.LATE_REPLY:
            self._closed.wait()
        elif mischief is Mischief.CUT:
            head, _, body = answer.partition(b"\r\n\r\n")
            client.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])
        elif mischief is Mischief.PASS:
            client.sendall(answer)

    def _ask(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        with socket.create_connection(self._upstream, timeout=30) as upstream:
            upstream.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)  # one request a connection
            answer = bytearray()
            while data := upstream.recv(1 << 20):
                answer += data
        return bytes(answer)


def _read_message(client: socket.socket) -> bytes:
    request = bytearray()
    while b"\r\n\r\n" not in request:
        data = client.recv(1 << 16)
        if not data:
            return b""
        request += data
    head, _, body = bytes(request).partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", b"0"))
    while len(body) < length:
        body += client.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def _answer(status: str, body: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()
