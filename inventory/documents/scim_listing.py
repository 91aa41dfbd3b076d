"""The proof that the pages of a SCIM listing are together the whole of it.

A listing is paged by position (RFC 7644, section 3.4.2.4), and nothing holds the list still meanwhile. Vendors are
known to ignore `startIndex` in silence, to cap pages below what was asked, and to report the size of the page as the
total. So a listing is whole only when the total never moved, no entry came twice, as many different entries came as
the total says, and nothing follows the last one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from inventory.documents.scim import Document, Malformed, Page, page
from inventory.errors import Denied, Misconfigured, ObjectMissing, ProviderError, Unsupported
from inventory.model import ReadState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser(Generic[T]):
    """How one entry of a listing is read, and by what it is told from the others."""

    parse: Callable[[Document], T]
    """Raises `Malformed`."""
    identify: Callable[[T], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Generic[T]):
    """One listing as far as it was read, with what can be said of it."""

    entries: tuple[T, ...] = ()
    state: ReadState = ReadState.COMPLETE
    reason: str = ""
    """Why it is not complete; empty when it is."""
    page_capacity: int = 0
    """The size of the largest page seen."""


class Doubt(Exception):
    """The pages do not add up, and asking for more of them cannot help."""


class Listing(Generic[T]):
    """Collects the pages of one listing and says what to ask for next.

    `page_capacity` is the size of a page known to have been sent by this provider: a shorter page was not cut by a
    cap, so nothing follows it. Without such knowledge the end is proven by asking beyond it.
    """

    def __init__(self, parser: Parser[T], *, limit: int, page_capacity: int = 0) -> None:
        self._parser = parser
        self._limit = limit
        self._entries: dict[str, T] = {}
        self._received = 0
        self._total: int | None = None
        self._capacity = page_capacity
        self._ended = False
        self.unreadable = ""
        """Why an entry could not be read; the others are still there."""

    @property
    def entries(self) -> tuple[T, ...]:
        """Return what was read so far, in the provider's order."""
        return tuple(self._entries.values())

    @property
    def page_capacity(self) -> int:
        """Return the size of the largest page seen."""
        return self._capacity

    @property
    def next_start(self) -> int:
        """Return the position to ask for next, counted from 1."""
        return self._received + 1

    @property
    def beyond_the_end(self) -> bool:
        """Say whether everything announced is here, so that the next page only proves the end."""
        return self._total is not None and self._received == self._total

    @property
    def ended(self) -> bool:
        """Say whether nothing more has to be asked."""
        return self._ended

    def end(self) -> None:
        """Take note that the provider refuses positions beyond the end, which is an end as well."""
        self._ended = True

    def add(self, page: Page) -> None:
        """Take a page; raises `Doubt` when it does not fit those before it."""
        if self._total is not None and page.total != self._total:
            msg = f"totalResults moved from {self._total} to {page.total} between pages"
            raise Doubt(msg)
        self._total = page.total
        if not page.resources and self._received < page.total:
            msg = f"only {self._received} of {page.total} entries came"
            raise Doubt(msg)
        for document in page.resources:
            self._take(document)
        if self._received > page.total:
            msg = f"more entries came than the {page.total} announced"
            raise Doubt(msg)
        self._ended = self._received == page.total and len(page.resources) < max(self._capacity, 1)
        self._capacity = max(self._capacity, len(page.resources))

    def _take(self, document: Document) -> None:
        self._received += 1
        if self._received > self._limit:
            msg = f"more than {self._limit} entries came"
            raise Doubt(msg)
        try:
            entry = self._parser.parse(document)
        except Malformed as error:
            self.unreadable = str(error)
            return
        key = self._parser.identify(entry)
        if key in self._entries:
            msg = "an entry came twice: the provider repeats pages (it may ignore startIndex) or the list moved"
            raise Doubt(msg)
        self._entries[key] = entry


def read_listing(name: str, listing: Listing[T], fetch: Callable[[int], Document]) -> Read[T]:
    """Read a listing to its end or to what stops it; `fetch` returns the page that begins at a position.

    Whatever stops it becomes the state and the reason. Raises `Misconfigured` only: no listing can work then.
    """
    state, reason = ReadState.COMPLETE, ""
    try:
        while not listing.ended:
            _next_page(listing, fetch)
    except Misconfigured:
        raise
    except (Doubt, Malformed) as error:
        state, reason = ReadState.PARTIAL, f"{name}: {error}"
    except ProviderError as error:
        state, reason = _state_of(error, begun=listing.next_start > 1), f"{name}: {error}"
    if state is ReadState.COMPLETE and listing.unreadable:
        state, reason = ReadState.PARTIAL, f"{name}: {listing.unreadable}"
    return Read(entries=listing.entries, state=state, reason=reason, page_capacity=listing.page_capacity)


def _next_page(listing: Listing[T], fetch: Callable[[int], Document]) -> None:
    try:
        document = fetch(listing.next_start)
    except (ObjectMissing, Unsupported):
        if not listing.beyond_the_end:
            raise
        listing.end()
    else:
        listing.add(page(document))


def _state_of(error: ProviderError, *, begun: bool) -> ReadState:
    if isinstance(error, Denied):
        return ReadState.DENIED
    if isinstance(error, ObjectMissing | Unsupported) and not begun:
        return ReadState.UNSUPPORTED
    return ReadState.PARTIAL
