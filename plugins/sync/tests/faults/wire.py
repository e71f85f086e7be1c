"""A wire between client and hub that breaks as it is told: cut, delayed, half-written and lost."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from typing import NamedTuple


class Fault(NamedTuple):
    """What happens to one connection."""

    kind: str
    """`refused`, `cut` on the way there, `delayed`, `half` an answer, or a `lost` one."""
    after: int = 0
    """Bytes that still pass: of what is sent for `cut`, of what is answered for `half`."""
    seconds: float = 0.0


class Wire:
    """Listens on loopback and passes on to a port; each connection takes the next fault, if there is one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.faults: deque[Fault] = deque()
        self.broken = 0
        """Connections that a fault ended, or held up."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            fault = self.faults.popleft() if self.faults else None
            threading.Thread(target=self._serve, args=(near, fault), daemon=True).start()

    def _serve(self, near: socket.socket, fault: Fault | None) -> None:
        with near, contextlib.suppress(OSError):
            if fault is not None and fault.kind == "refused":
                self.broken += 1
                return
            with socket.create_connection(("127.0.0.1", self.port)) as far:
                there = threading.Thread(target=self._there, args=(near, far, fault), daemon=True)
                there.start()
                self._back(near, far, fault)
                _end(near, far)
                there.join()

    def _there(self, near: socket.socket, far: socket.socket, fault: Fault | None) -> None:
        left = fault.after if fault is not None and fault.kind == "cut" else None
        with contextlib.suppress(OSError):
            while piece := near.recv(65536):
                if left is not None and len(piece) > left:
                    far.sendall(piece[:left])
                    self.broken += 1
                    _end(near, far)
                    return
                left = None if left is None else left - len(piece)
                far.sendall(piece)
            far.shutdown(socket.SHUT_WR)

    def _back(self, near: socket.socket, far: socket.socket, fault: Fault | None) -> None:
        kind, left = (fault.kind, fault.after) if fault is not None else ("", 0)
        while piece := far.recv(65536):
            if kind == "delayed" and fault is not None:
                self.broken += 1
                time.sleep(fault.seconds)
                kind = ""
            elif kind == "lost":
                self.broken += 1
                return
            elif kind == "half":
                near.sendall(piece[:left])
                left -= len(piece)
                if left <= 0:
                    self.broken += 1
                    return
                continue
            near.sendall(piece)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
