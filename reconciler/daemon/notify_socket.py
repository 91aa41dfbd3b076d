"""Telling the service manager how we are: sd_notify(3), which is one datagram of `KEY=value` lines."""

import socket

import structlog

log = structlog.get_logger(__name__)


class NotifySocket:
    """The socket of systemd's `Type=notify`. Without an address nothing is sent: nobody supervises us."""

    def __init__(self, address: str) -> None:
        """Take the value of `NOTIFY_SOCKET`: a path, or `@` and an abstract name."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    def tell(self, **facts: str) -> None:
        """Send facts such as `READY="1"`; a supervisor that cannot be reached is logged once and changes nothing."""
        if not self._address:
            return
        text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in facts.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A manager that does not read must not hold up the cycle that tells it of its progress.
                sender.settimeout(0)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("notify.failed", error=error.strerror or type(error).__name__)
            self._failed = True
