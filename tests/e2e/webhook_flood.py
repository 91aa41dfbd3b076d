"""Floods a webhook: forged, replayed and slow calls at a rate, from a process of its own. Prints how many it began.

`python webhook_flood.py PORT SECONDS CALLS_A_SECOND`; the replayed call comes on stdin.
"""

import errno
import json
import socket
import sys
import time
from collections import deque
from itertools import cycle

HELD = 800
"""Connections left open at a time; the oldest one is let go for a new one."""
FORGED = (
    b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nwebhook-id: m\r\n"
    b"webhook-timestamp: %d\r\nwebhook-signature: v1,AAAA\r\n\r\n{}"
)
SLOW = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Le"


def begin(port: int, payload: bytes) -> socket.socket | None:
    """Begin a call without waiting for anything; None when the machine has no port left for it."""
    client = socket.socket()
    client.setblocking(False)  # noqa: FBT003 - the signature is the standard library's
    try:
        if client.connect_ex(("127.0.0.1", port)) in {0, errno.EINPROGRESS}:
            client.send(payload)
    except BlockingIOError:
        return client  # the listener's queue is full: the kernel goes on trying
    except OSError:
        client.close()
        return None
    return client


def main(port: int, seconds: float, rate: int) -> None:
    """Begin calls until the time is over."""
    forged = FORGED % int(time.time())
    payloads = cycle([*[forged] * 7, sys.stdin.buffer.read(), forged, SLOW])
    held: deque[socket.socket] = deque()
    began = time.monotonic()
    begun = 0
    while (passed := time.monotonic() - began) < seconds:
        while begun < passed * rate and time.monotonic() - began < seconds:
            client = begin(port, next(payloads))
            begun += 1
            if client is not None:
                held.append(client)
            if len(held) > HELD:
                held.popleft().close()
        time.sleep(0.001)
    print(json.dumps({"begun": begun, "a_second": round(begun / seconds)}))  # noqa: T201 - its one answer


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
