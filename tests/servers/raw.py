"""A server that sends what it was told, byte by byte, whatever HTTP says of it."""

from __future__ import annotations

import socket
import threading


class RawServer:
    """Answers each connection with a head and a piece so many times (-1: without end), and closes it."""

    def __init__(self, head: bytes, piece: bytes = b"", times: int = 0) -> None:
        self._answer = head, piece, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/a.jpg"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes a thread that still waits for its client
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the test is over
            with connection:
                self._send(connection)

    def _send(self, connection: socket.socket) -> None:
        head, piece, times = self._answer
        try:
            connection.recv(65536)
            connection.sendall(head)
            while times:
                connection.sendall(piece)
                times -= 1
        except OSError:
            return  # the client has had enough


def chunk(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"x" * size)
