"""What tests of the webhook share: a sender's side of the Standard Webhooks specification, and raw calls."""

import base64
import hashlib
import hmac
import socket
import time
from pathlib import Path

SECRET = b"an old secret of twenty-four bytes or more"
OTHER = b"a new secret of twenty-four bytes or more!"
BODY = b'{"type":"worker.left"}'


def secret_file(folder: Path, secret: bytes = SECRET, name: str = "webhook-secret") -> Path:
    """Write a secret as a sender's console shows it."""
    path = folder / name
    path.write_text(f"whsec_{base64.b64encode(secret).decode()}\n", encoding="ascii")
    return path


def seal(message_id: str, *, body: bytes = BODY, secret: bytes = SECRET, at: float | None = None) -> dict[str, str]:
    """Sign a message by the specification, without the library that checks it."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def request(headers: dict[str, str], *, body: bytes = BODY, head: str = "POST /webhook HTTP/1.1") -> bytes:
    """Return the bytes of a call."""
    lines = [head, "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def call(port: int, raw: bytes, *, seconds: float = 10) -> bytes:
    """Send bytes and return everything that is answered until the other side hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        client.sendall(raw)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
        return answer


def status(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])
