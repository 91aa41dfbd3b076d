"""The one LDAP client: bind, paged search, single reads, who-am-I, and the translation of LDAP's errors.

Reads only. The revoker builds a client of its own from its own credentials and writes through `LdapClient.raw`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import ldap
from ldap.controls import SimplePagedResultsControl
from ldap.filter import escape_filter_chars
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inventory.documents.ldap import Entry
from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.provider import Clock
from inventory.regular_files import read_regular

LdapObject: TypeAlias = Any
"""python-ldap's connection, which has no published types."""

_ANY = "(objectClass=*)"
_IDLE_SECONDS = 60.0
_MOST_PASSWORD_BYTES = 64 * 1024
"""A connection unused for longer is not trusted: servers and load balancers drop idle ones, in silence."""
CONNECTIONS = 8
"""Most connections of one client: a read of one account asks for about so many things at once."""
_PROBES = {"pwdaccountlockedtime": b"000001010000Z", "member": b"cn=-", "uniquemember": b"cn=-"}
"""A value of the attribute's syntax to compare with: another one would be refused for its form."""


class ConnectionSettings(BaseModel):
    """How to reach a directory and as whom: shared by the reader's and the revoker's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str = Field(description="ldaps://host[:port] or ldap://host[:port]")
    bind_dn: str = Field(min_length=1, description="DN to bind as; anonymous reads are never taken for whole")
    password_file: Path = Field(description="file holding the bind password; one trailing newline is ignored")
    start_tls: bool = Field(default=False, description="upgrade an ldap:// connection by StartTLS before binding")
    ca_file: Path | None = Field(default=None, description="PEM file of the authorities that may sign the server")
    allow_plaintext: bool = Field(default=False, description="send the password unencrypted to another host")
    timeout_seconds: float = Field(default=30.0, gt=0, description="limit of one connect and of one answer, in seconds")
    page_size: int = Field(default=500, ge=1, le=10_000, description="entries asked for in one page of a search")

    @model_validator(mode="after")
    def _password_stays_private(self) -> Self:
        parts = urlsplit(self.uri)
        if parts.scheme not in {"ldap", "ldaps"} or not parts.hostname:
            msg = "uri must be ldaps://host[:port] or ldap://host[:port]"
            raise ValueError(msg)
        if parts.scheme == "ldaps" and self.start_tls:
            msg = "start_tls is for ldap:// only: ldaps:// is encrypted from the first byte"
            raise ValueError(msg)
        encrypted = parts.scheme == "ldaps" or self.start_tls
        if not (encrypted or self.allow_plaintext or _loopback(parts.hostname)):
            msg = "ldap:// would send the password in the clear: use ldaps://, start_tls, or allow_plaintext"
            raise ValueError(msg)
        return self


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search returned; with an error it is what came before the failure, never all."""

    entries: tuple[Entry, ...]
    error: ProviderError | None = None

    def whole(self) -> tuple[Entry, ...]:
        """Return the entries of a search that reached its end; raises the error of one that did not."""
        if self.error is not None:
            raise self.error
        return self.entries


class LdapClient:
    """A few bound connections, opened when they are needed, anew after they broke or lay idle. Safe from many threads.

    Each is lent to one caller at a time, because a paged search is a state of its connection: a second one would end
    the first.
    """

    def __init__(self, settings: ConnectionSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._idle: list[tuple[LdapObject, float]] = []
        """Connections nobody uses, with the monotonic time of their last use; the last one used is at the end."""
        self._calls = 0
        self._throttles = 0

    @property
    def calls(self) -> int:
        """Return how many requests were sent so far, binds and pages included."""
        return self._calls

    @property
    def throttles(self) -> int:
        """Return how many of them were answered with: busy."""
        return self._throttles

    def count(self) -> None:
        """Count one request."""
        with self._lock:
            self._calls += 1

    def connect(self) -> None:
        """Bind anew, so that a wrong address or password shows before anything is read."""
        self.close()
        with self.raw(f"bind as {self._settings.bind_dn}"):
            return

    def search(self, base: str, filter_text: str, attributes: Sequence[str]) -> Found:
        """Search a subtree page by page; what a failure leaves is returned with its error."""
        entries: list[Entry] = []
        try:
            with self.raw(f"search under {base}") as connection:
                for page in self._pages(connection, base, filter_text, attributes):
                    entries.extend(page)
        except ProviderError as error:
            return Found(entries=tuple(entries), error=error)
        return Found(entries=tuple(entries))

    def search_all(self, bases: Sequence[str], filter_text: str, attributes: Sequence[str]) -> Found:
        """Search several subtrees, which may overlap; an error in one is kept, and the others are still searched."""
        entries: dict[str, Entry] = {}
        error: ProviderError | None = None
        for base in bases:
            found = self.search(base, filter_text, attributes)
            entries.update({entry.dn: entry for entry in found.entries})
            error = error or found.error
        return Found(entries=tuple(entries[dn] for dn in sorted(entries)), error=error)

    def first(self, base: str, filter_text: str, attributes: Sequence[str]) -> Entry | None:
        """Return one entry that a filter matches, any one, without reading the others."""
        with self.raw(f"search under {base}") as connection:
            page = next(self._pages(connection, base, filter_text, attributes, size=1))
        return next(iter(page), None)

    def _pages(
        self, connection: LdapObject, base: str, filter_text: str, attributes: Sequence[str], size: int = 0
    ) -> Iterator[list[Entry]]:
        cookie: bytes | str = ""
        while True:
            wanted = size or self._settings.page_size
            control = SimplePagedResultsControl(criticality=True, size=wanted, cookie=cookie)
            self.count()
            message = connection.search_ext(
                base, ldap.SCOPE_SUBTREE, filter_text, list(attributes), serverctrls=[control]
            )
            _, rows, _, answered = connection.result3(message, timeout=self._settings.timeout_seconds)
            if any(dn is None for dn, _ in rows):
                msg = f"search under {base}: part of the tree is on another server (a referral came back)"
                raise Misconfigured(msg, advice="configure that server as a provider instance of its own")
            yield [Entry.of(dn, attrs) for dn, attrs in rows]
            cookies = [one.cookie for one in answered if one.controlType == SimplePagedResultsControl.controlType]
            if not cookies:
                msg = f"search under {base}: the server did not page its answer"
                raise Unsupported(msg, advice="allow the paged-results control (RFC 2696) for this reader")
            cookie = cookies[0]
            if not cookie:
                return

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """Read one entry by DN; None when the server says that it knows none, which may also mean: not for us."""
        try:
            with self.raw(f"read {dn}") as connection:
                self.count()
                rows = connection.search_ext_s(
                    dn, ldap.SCOPE_BASE, _ANY, list(attributes), timeout=self._settings.timeout_seconds
                )
        except ObjectMissing:
            return None
        return _one_of(rows)

    def read_together(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> tuple[Entry | None, ...]:
        """Read several entries by DN in one round trip, each with its attributes; None as `read` returns it."""
        found: list[Entry | None] = []
        with self.raw(f"read {', '.join(dn for dn, _ in wanted)}") as connection:
            asked = [connection.search_ext(dn, ldap.SCOPE_BASE, _ANY, list(names)) for dn, names in wanted]
            failure: ldap.LDAPError | None = None
            for message in asked:  # every answer is taken from the connection, also after one that is a failure
                self.count()
                try:
                    found.append(_one_of(connection.result3(message, timeout=self._settings.timeout_seconds)[1]))
                except ldap.NO_SUCH_OBJECT:
                    found.append(None)
                except ldap.LDAPError as error:
                    failure = failure or error
            if failure is not None:
                raise failure
        return tuple(found)

    def read_by_id(self, base: str, id_attribute: str, value: str, attributes: Sequence[str]) -> Entry | None:
        """Find the entry with this immutable id under a base; None only when the base itself can be seen.

        OpenLDAP answers `noSuchObject` also where access is refused, so a base that is not there is `Denied`.
        """
        filter_text = f"({id_attribute}={escape_filter_chars(value)})"
        try:
            entries = self.search(base, filter_text, attributes).whole()
        except ObjectMissing as error:
            raise invisible(base) from error
        if not entries and self.read(base, ("objectClass",)) is None:
            raise invisible(base)
        return next(iter(entries), None)

    def may_see(self, dn: str, attribute: str) -> bool:
        """Say whether our identity may look at an attribute of an entry, even of an entry that has none.

        A search leaves out in silence what it may not show; only `compare` tells "not there" from "not for you".
        """
        try:
            with self.raw(f"compare {attribute} of {dn}") as connection:
                self.count()
                connection.compare_ext_s(dn, attribute, _PROBES.get(attribute.lower(), b"-"))
        except Denied:
            return False
        except (ObjectMissing, Unsupported):
            # No such attribute here, or none in the schema: a positive answer that there is nothing to see.
            return True
        return True

    def who_am_i(self) -> str:
        """Return the DN that the server takes us for, empty when anonymous (RFC 4532)."""
        with self.raw("ask who we are") as connection:
            self.count()
            return str(connection.whoami_s() or "").removeprefix("dn:")

    @contextmanager
    def raw(self, what: str) -> Iterator[LdapObject]:
        """Lend a bound connection for one operation and translate its errors to `inventory.errors`."""
        with self._free:
            connection: LdapObject = None
            broken = True
            try:
                connection = self._fresh() or self._open()
                yield connection
                broken = False
            except ldap.LDAPError as error:
                translated = translate(error, what)
                broken = isinstance(translated, Unavailable)
                if isinstance(translated, Throttled):
                    with self._lock:
                        self._throttles += 1
                raise translated from error
            finally:
                # Left by an error of another kind, an answer may still be under way: nobody else gets it.
                self._give_back(connection, broken=broken)

    def _fresh(self) -> LdapObject:
        """Return an open connection that was used a moment ago, or None."""
        with self._lock:
            found, used_at = self._idle.pop() if self._idle else (None, 0.0)
        if found is None or self._clock.monotonic_seconds() - used_at <= _IDLE_SECONDS:
            return found
        self.close()  # the others lay idle for longer still
        _unbind(found)
        return None

    def _give_back(self, connection: LdapObject, *, broken: bool) -> None:
        if connection is None:
            return
        if broken:
            _unbind(connection)
            return
        with self._lock:
            self._idle.append((connection, self._clock.monotonic_seconds()))

    def _open(self) -> LdapObject:
        settings = self._settings
        connection = ldap.initialize(settings.uri, bytes_mode=False)
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.set_option(ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3)
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, settings.timeout_seconds)
        connection.set_option(ldap.OPT_TIMEOUT, settings.timeout_seconds)
        if settings.uri.startswith("ldaps") or settings.start_tls:
            connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
            if settings.ca_file is not None:
                connection.set_option(ldap.OPT_X_TLS_CACERTFILE, str(settings.ca_file))
            connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        self.count()
        if settings.start_tls:
            _encrypt(connection, settings.uri)
        connection.simple_bind_s(settings.bind_dn, self._password())
        return connection

    def _password(self) -> str:
        path = self._settings.password_file
        try:
            password = read_regular(path, _MOST_PASSWORD_BYTES).decode().removesuffix("\n")
        except OSError as error:
            raise Misconfigured(f"password file {path}: {error.strerror}", advice="check path and mode") from error
        except UnicodeDecodeError:
            # Without the cause: it holds the bytes.
            raise Misconfigured(
                f"password file {path} is not UTF-8", advice="write the bind password as text"
            ) from None
        if not password:
            # RFC 4513 §5.1.2: a bind with an empty password succeeds, as nobody.
            raise Misconfigured(f"password file {path} is empty", advice="write the bind password into it")
        return password

    def close(self) -> None:
        """Unbind what nobody uses; a later call would open a new connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            _unbind(connection)


def _one_of(rows: Sequence[tuple[str | None, Mapping[str, Sequence[bytes]]]]) -> Entry | None:
    """Return the entry that a search for one DN gave; a referral has no DN."""
    return next((Entry.of(dn, attributes) for dn, attributes in rows if dn is not None), None)


def _unbind(connection: LdapObject) -> None:
    try:
        connection.unbind_ext_s()
    except ldap.LDAPError:
        return  # already broken, which is why it is given up


def _encrypt(connection: LdapObject, uri: str) -> None:
    try:
        connection.start_tls_s()
    except (ldap.PROTOCOL_ERROR, ldap.UNAVAILABLE, ldap.UNWILLING_TO_PERFORM) as error:
        raise Misconfigured(f"{uri} offers no StartTLS", advice="use ldaps://, or give the server a key") from error


def invisible(base: str) -> Denied:
    """Return the error for a base that our identity cannot see: missing, or refused, the server does not say."""
    return Denied(
        f"base {base} is not visible: it does not exist or our identity may not see it",
        advice="check the base's spelling and the reader's access rules (deploy/ldap/)",
    )


_REFUSED = (
    ldap.INSUFFICIENT_ACCESS,
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,
    ldap.STRONG_AUTH_REQUIRED,
    ldap.CONFIDENTIALITY_REQUIRED,
)
_LIMITS = (ldap.SIZELIMIT_EXCEEDED, ldap.ADMINLIMIT_EXCEEDED, ldap.TIMELIMIT_EXCEEDED)
_BROKEN = (
    ldap.SERVER_DOWN,
    ldap.CONNECT_ERROR,
    ldap.TIMEOUT,
    ldap.UNAVAILABLE,
    ldap.DECODING_ERROR,
    ldap.LOCAL_ERROR,
)
_KINDS: Mapping[type[Exception], tuple[type[ProviderError], str]] = {
    **dict.fromkeys(_REFUSED, (Denied, "check the bind DN, its password and its access rules (deploy/ldap/)")),
    **dict.fromkeys(_LIMITS, (Misconfigured, "raise this identity's limits: limits dn.exact=… size.prtotal=unlimited")),
    **dict.fromkeys(_BROKEN, (Unavailable, "check that the server answers and that ca_file signs its certificate")),
    ldap.BUSY: (Throttled, "the server is busy: it is asked again"),
    ldap.NO_SUCH_OBJECT: (ObjectMissing, ""),
    ldap.NO_SUCH_ATTRIBUTE: (ObjectMissing, ""),
    ldap.ASSERTION_FAILED: (ObjectChanged, "the entry is not the planned one any more: the next cycle decides afresh"),
    ldap.UNDEFINED_TYPE: (Unsupported, "the server's schema does not know this attribute"),
    ldap.UNAVAILABLE_CRITICAL_EXTENSION: (Unsupported, "the server lacks a control that safe reading or acting needs"),
    ldap.INVALID_DN_SYNTAX: (Misconfigured, "check the spelling of the DN (RFC 4514)"),
    ldap.FILTER_ERROR: (Misconfigured, "check the spelling of the filter (RFC 4515)"),
}


def translate(error: ldap.LDAPError, what: str) -> ProviderError:
    """Turn an LDAP result into the error that says who has to do something about it."""
    kind, advice = _KINDS.get(type(error), (ProviderError, "see the server's log for this operation"))
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return kind(f"{what}: {details.get('desc', type(error).__name__)}", advice=advice)
