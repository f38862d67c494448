"""How the way between two hosts is: serve PORT SECONDS | measure ADDRESS PORT

Standard library only. `serve` echoes datagrams and counts what streams bring. `measure` prints one line of JSON:
{round_trip_milliseconds, spread_milliseconds, lost_percent, megabits_per_second}; None for what could not be measured.
It sends two hundred small datagrams in a second, then one stream for as long.
"""

import contextlib
import json
import socket
import statistics
import struct
import sys
import threading
import time

_DATAGRAMS, _PAUSE_SECONDS, _LATE_SECONDS = 200, 0.005, 1.0
_STREAM_SECONDS, _STREAM_LIMIT_SECONDS, _CONNECT_SECONDS = 1.0, 8.0, 1.5
_BLOCK = bytes(1 << 16)


def serve(port: int, seconds: float) -> None:
    """Answer until the time is over."""
    threading.Thread(target=_echo, args=(port,), daemon=True).start()
    threading.Thread(target=_count, args=(port,), daemon=True).start()
    time.sleep(seconds)


def _echo(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("", port))
        while True:
            data, who = line.recvfrom(2048)
            with contextlib.suppress(OSError):
                line.sendto(data, who)


def _count(port: int) -> None:
    with socket.create_server(("", port)) as server:
        while True:
            stream, _ = server.accept()
            threading.Thread(target=_swallow, args=(stream,), daemon=True).start()


def _swallow(stream: socket.socket) -> None:
    got = 0
    with stream, contextlib.suppress(OSError):
        while data := stream.recv(1 << 16):
            got += len(data)
        stream.sendall(struct.pack(">Q", got))


def datagrams(address: str, port: int) -> dict[str, float | None]:
    """Round trips and losses."""
    trips: dict[int, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((address, port))
        line.settimeout(_PAUSE_SECONDS)
        end = time.monotonic() + _DATAGRAMS * _PAUSE_SECONDS + _LATE_SECONDS
        sent = 0
        next_at = time.monotonic()
        while time.monotonic() < end and len(trips) < _DATAGRAMS:
            if sent < _DATAGRAMS and time.monotonic() >= next_at:
                next_at += _PAUSE_SECONDS
                # A rule that drops at once says so here: that packet is lost like any other.
                with contextlib.suppress(OSError):
                    line.send(struct.pack(">Id", sent, time.monotonic()))
                sent += 1
            line.settimeout(max(min(next_at - time.monotonic(), _PAUSE_SECONDS), 0.0005))
            with contextlib.suppress(OSError, struct.error):
                number, at = struct.unpack(">Id", line.recv(64))
                trips[number] = 1000 * (time.monotonic() - at)
    ordered = sorted(trips.values())
    return {
        "round_trip_milliseconds": round(statistics.median(ordered), 3) if ordered else None,
        "spread_milliseconds": round(ordered[len(ordered) * 9 // 10] - ordered[len(ordered) // 10], 3)
        if ordered
        else None,
        "lost_percent": round(100 * (1 - len(ordered) / _DATAGRAMS), 2),
    }


def stream(address: str, port: int) -> float | None:
    """Megabits a second that arrived; None without a connection."""
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_SECONDS) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
            line.settimeout(_STREAM_LIMIT_SECONDS)
            began = time.monotonic()
            while time.monotonic() < began + _STREAM_SECONDS:
                line.sendall(_BLOCK)
            line.shutdown(socket.SHUT_WR)
            (got,) = struct.unpack(">Q", line.recv(8))
            return round(8 * int(got) / (time.monotonic() - began) / 1e6, 2)
    except (OSError, struct.error):
        return None


def main(words: list[str]) -> int:
    """One of the two."""
    if words[0] == "serve":
        serve(int(words[1]), float(words[2]))
        return 0
    address, port = words[1], int(words[2])
    print(json.dumps({**datagrams(address, port), "megabits_per_second": stream(address, port)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
