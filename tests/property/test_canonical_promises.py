"""Canonical bytes are those of the reference, however they are come by: written fast, remembered, or put together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from inventory.model import AccessItem, Coverage, ProviderInventory
from reconciler.core.canonical import Json, digest_of, dumps, plain
from reconciler.core.evidence import inventory_digest
from tests.builders import NOW, credential, grant, inventory, principal

_TEXTS = st.text(st.characters(), max_size=5) | st.sampled_from(
    ("", '"\\/', "\x00\x1f\x7f\b\f", "\u2028\ue000", "\U0001f600", "ß")
)
_NUMBERS = st.integers(-(2**53) - 2, 2**53 + 2) | st.sampled_from((2**53 - 1, 2**53, -(2**53), 10**30)) | st.floats()
_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(value=_JSON)
def test_every_value_has_the_bytes_of_the_reference_or_is_refused_by_it(value: Json) -> None:
    """Text of all planes, keys that sort differently by UTF-16, numbers at and beyond the domain: same end."""
    try:
        expected = rfc8785.dumps(value)
    except ValueError as refused:
        with pytest.raises(type(refused)):
            dumps(value)
    else:
        assert dumps(value) == expected


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    """Text that is no Unicode has no canonical form, as a value and as a key."""
    for value in (text, {text: 1}):
        with pytest.raises(ValueError, match=r"surrogates|non-UTF-8"):
            dumps(value)


_INSTANTS = st.sampled_from((None, NOW, NOW + timedelta(microseconds=1), NOW.astimezone(timezone(timedelta(hours=5)))))
_ITEMS: st.SearchStrategy[AccessItem] = st.builds(
    credential,
    owner=st.sampled_from(("alice", "bob")),
    enabled=st.sampled_from((None, True, False)),
    last_used_at=_INSTANTS,
    fingerprint=st.sampled_from(("", "SHA256:é")),
) | st.builds(grant, owner=st.sampled_from(("alice", "bob")), role=st.sampled_from(("developers", "ops")))
_PEOPLE = st.builds(principal, name=st.sampled_from(("alice", "bob", "ü")), last_used_at=_INSTANTS)


def _digest_by_the_reference(seen: ProviderInventory) -> str:
    def entries(found: tuple[object, ...], key: str) -> list[object]:
        return sorted((plain(one) for one in found), key=lambda one: str(one[key]))  # type: ignore[index]  # objects all

    return digest_of(
        {
            "provider": seen.provider,
            "type": seen.provider_type,
            "scope": seen.scope,
            "principals": entries(seen.principals, "principal_id"),
            "items": entries(seen.items, "access_id"),
            "coverage": entries(seen.coverage, "kind"),
        }
    )


@given(worlds=st.lists(st.tuples(st.lists(_PEOPLE, max_size=3), st.lists(_ITEMS, max_size=4)), min_size=1, max_size=4))
def test_a_remembered_inventory_has_the_digest_of_one_written_out(
    worlds: list[tuple[list[object], list[AccessItem]]],
) -> None:
    """A world that changes, entry by entry and back again: what is remembered never stands for something else."""
    for people, items in worlds:
        seen = replace(inventory(), principals=tuple(people), items=tuple(items))  # type: ignore[arg-type]  # builders' own
        assert inventory_digest(seen) == _digest_by_the_reference(seen)


def test_every_fact_of_an_entry_moves_the_digest() -> None:
    """One field of one entry, in an inventory whose other entries are remembered, is noticed."""
    item = credential()
    seen = replace(inventory(), principals=(principal(),), items=(item,))
    others = (
        replace(seen, items=(replace(item, last_used_at=datetime(2020, 1, 1, tzinfo=UTC)),)),
        replace(seen, items=(replace(item, enabled=not item.enabled),)),
        replace(seen, principals=(replace(principal(), display_name="Another"),)),
        replace(seen, coverage=(*seen.coverage[:-1], _recounted(seen.coverage[-1]))),
        replace(seen, items=()),
    )
    assert len({inventory_digest(one) for one in (seen, *others)}) == len(others) + 1


def _recounted(entry: Coverage) -> Coverage:
    return replace(entry, count=entry.count + 1)
