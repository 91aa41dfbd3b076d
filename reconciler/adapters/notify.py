"""Sends messages by Apprise, to any of the services that it knows. The address is a secret and stands in a file."""

from pathlib import Path

from reconciler.core.errors import NotifyError


class AppriseNotifier:
    """Implements `reconciler.ports.Notifier` for one address, which is read again for each message."""

    def __init__(self, url_file: Path, timeout_seconds: float) -> None:
        self._url_file = url_file
        self._timeout_seconds = timeout_seconds

    def send(self, title: str, body: str) -> None:
        """Send one message; raises `NotifyError` when it was not taken within the time limit.

        Apprise's own words on a failure are left out: they may hold the address or what the other side answered.
        """
        # On demand: loading takes a second and a hundred modules, which only those pay who are told.
        from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - on demand
        from apprise.common import PersistentStoreMode  # noqa: PLC0415 - on demand

        asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY, service_timeout=self._timeout_seconds)
        service = Apprise(asset=asset)
        if not service.add(self._address()):
            raise NotifyError(
                f"{self._url_file} holds no address that Apprise knows",
                advice="write one Apprise URL into it, such as json://host/path",
            )
        result = service.notify(body=body, title=title, timeout=self._timeout_seconds)
        if not result:
            raise NotifyError(
                f"the receiver of {self._url_file} did not take the message ({result.status.name.lower()})",
                advice="check address and receiver; it is tried again",
            )

    def _address(self) -> str:
        try:
            lines = self._url_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise NotifyError(
                f"{self._url_file} cannot be read: {type(error).__name__}", advice="check the path and its mode"
            ) from error
        if len(lines) != 1:
            raise NotifyError(
                f"{self._url_file} holds {len(lines)} addresses, not one",
                advice="give each receiver a file of its own, with one Apprise URL and nothing else",
            )
        return lines[0]
