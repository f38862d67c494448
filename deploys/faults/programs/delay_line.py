"""Holds packets of the kernel's queue for a while and lets them go on in their order: DELAY-MS JITTER-MS SECONDS

Standard library only; Linux, root. It speaks nfnetlink_queue (linux/netfilter/nfnetlink_queue.h) and is given no bytes
of the packets, only their numbers. Packets pass at once when it is full and when it is gone. It ends at its deadline.
Milliseconds of the two waits; the jitter is uniform between minus and plus its value, and no packet overtakes another.
"""

import contextlib
import os
import random
import select
import socket
import struct
import time
from collections import deque

QUEUE = 64250
_NETFILTER = 12
_SUBSYSTEM = 3 << 8
_PACKET, _CONFIG, _VERDICT_BATCH = _SUBSYSTEM | 0, _SUBSYSTEM | 2, _SUBSYSTEM | 3
_REQUEST, _ACKNOWLEDGE = 1, 4
_BIND, _COPY_META, _ACCEPT = 1, 1, 1
_FAIL_OPEN, _WHOLE_SEGMENTS = 1, 4
_NETLINK_LEVEL, _NO_BUFFER_ERRORS = 270, 5
_ERROR = 2
_QUEUE_PACKETS = 50_000
_BUFFER_BYTES = 8 << 20


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, padded to four bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def message(kind: int, queue: int, attributes: bytes, flags: int = _REQUEST) -> bytes:
    """A message of nfnetlink for a queue."""
    body = struct.pack("=BB", 0, 0) + struct.pack(">H", queue) + attributes
    return struct.pack("=IHHII", len(body) + 16, kind, flags, 0, 0) + body


def configuration(queue: int) -> list[bytes]:
    """What makes us the listener of a queue: numbers only, large segments whole, open when it is full."""
    flags = _FAIL_OPEN | _WHOLE_SEGMENTS
    return [
        message(_CONFIG, queue, attribute(1, struct.pack(">BBH", _BIND, 0, 0)), _REQUEST | _ACKNOWLEDGE),
        message(_CONFIG, queue, attribute(2, struct.pack(">IB", 0, _COPY_META)), _REQUEST | _ACKNOWLEDGE),
        message(
            _CONFIG,
            queue,
            attribute(3, struct.pack(">I", _QUEUE_PACKETS))
            + attribute(4, struct.pack(">I", flags))
            + attribute(5, struct.pack(">I", flags)),
            _REQUEST | _ACKNOWLEDGE,
        ),
    ]


def verdict(queue: int, packet: int) -> bytes:
    """Let go of every packet up to this number."""
    return message(_VERDICT_BATCH, queue, attribute(2, struct.pack(">II", _ACCEPT, packet)))


def packets(data: bytes) -> list[int]:
    """Numbers of the packets that messages of the kernel name; OSError for an error that it answers."""
    found, place = [], 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, place)
        if length < 16:
            break
        if kind == _ERROR and (code := struct.unpack_from("=i", data, place + 16)[0]):
            raise OSError(-code, "the kernel refuses the packet queue")
        if kind == _PACKET:
            number = _number(data[place + 20 : place + length])
            if number is not None:
                found.append(number)
        place += length + (-length % 4)
    return found


def _number(attributes: bytes) -> int | None:
    place = 0
    while place + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, place)
        if length < 4:
            return None
        if kind & 0x3FFF == 1:
            return int(struct.unpack_from(">I", attributes, place + 4)[0])
        place += length + (-length % 4)
    return None


def due(now: float, last: float, delay_milliseconds: float, jitter_milliseconds: float, chance: float) -> float:
    """When a packet that came now may go: not before the one that came before it. `chance` is within [-1, 1]. Pure."""
    return max(now + max(delay_milliseconds + chance * jitter_milliseconds, 0.0) / 1000, last)


def main(words: list[str]) -> int:
    """Hold packets until the deadline, then let all go."""
    delay, jitter, seconds = (float(word) for word in words)
    deadline = time.monotonic() + seconds
    chance = random.Random()  # noqa: S311 (a delay is no secret)
    held: deque[tuple[float, int]] = deque()
    last = 0.0
    with contextlib.suppress(OSError):
        # A host that is busy with other faults must not hold packets longer than was asked.
        os.nice(-15)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        line.setsockopt(_NETLINK_LEVEL, _NO_BUFFER_ERRORS, 1)
        line.bind((0, 0))
        for order in configuration(QUEUE):
            line.send(order)
            packets(line.recv(65536))
        while (now := time.monotonic()) < deadline:
            wait = min(held[0][0] if held else deadline, deadline) - now
            if select.select([line], [], [], max(wait, 0))[0]:
                arrived = packets(line.recv(1 << 20))
                now = time.monotonic()
                for number in arrived:
                    last = due(now, last, delay, jitter, chance.uniform(-1, 1))
                    held.append((last, number))
            now, gone = time.monotonic(), None
            while held and held[0][0] <= now:
                gone = held.popleft()[1]
            if gone is not None:
                line.send(verdict(QUEUE, gone))
    return 0
