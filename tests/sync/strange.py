"""Maps that look like a batch as far as they like."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

INTEGERS = st.one_of(
    st.integers(-2, 4), st.integers(-(2**63), 2**64 - 1), st.sampled_from([2**63 - 1, 2**63])
)
SCALARS = st.one_of(
    st.none(), st.booleans(), INTEGERS, st.floats(), st.text(max_size=16), st.binary(max_size=16)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
CHAINS = st.sampled_from([b"", bytes(16), b"x" * 16]) | SCALARS
RECORDS = st.lists(
    st.tuples(st.integers(0, 255) | INTEGERS, st.binary(max_size=8)) | VALUES, max_size=3
)

TOO_LARGE = st.tuples(st.integers(0, 255), st.just(bytes(16)), INTEGERS)


def strange_contents() -> st.SearchStrategy[Mapping[str, object]]:
    """Every key of a batch, with values that are sometimes right, and now and then another key."""
    keys: st.SearchStrategy[Mapping[str, object]] = st.fixed_dictionaries(
        {
            "v": st.just(1) | VALUES,
            "epoch": st.just(bytes(16)) | VALUES,
            "first_seq": INTEGERS | VALUES,
            "last_seq": INTEGERS | VALUES,
            "lost_before": INTEGERS | VALUES,
            "chain_before": CHAINS,
            "chain_after": CHAINS,
            "replayed": st.booleans() | VALUES,
            "records": RECORDS | VALUES,
            "too_large": st.none() | TOO_LARGE | VALUES,
        },
        optional={"more": VALUES},
    )
    return keys | st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
