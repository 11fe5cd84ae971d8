"""The details of a violation: what is kept, and what no record could hold."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from teddy_edge.domain.child import ReportSafetyViolation
from teddy_edge.domain.details import DEPTH_MAX, DETAILS_BYTES_MAX

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)


def reported(details: Any) -> Any:
    command = ReportSafetyViolation(
        child_id="c", violation_type="stranger", severity="low", details=details
    )
    return command.details


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else None


@given(JSON)
def test_details_are_refused_or_stand_in_a_record_as_they_are_given(details: Any) -> None:
    try:
        kept = reported(details)
    except ValidationError:
        return
    packed = msgpack.packb(kept)
    assert msgpack.unpackb(packed) == details
    assert len(packed) <= DETAILS_BYTES_MAX


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ("x" * DETAILS_BYTES_MAX, "at most 4000 bytes"),
        ("\N{TEDDY BEAR}" * (DETAILS_BYTES_MAX // 4), "at most 4000 bytes"),
        ([1.5] * (DETAILS_BYTES_MAX // 9), "at most 4000 bytes"),
        (2**63, "64 bits"),
        (float("nan"), "64 bits"),
        (["\ud800"], "Unicode"),
        ({"\ud800": 1}, "Unicode"),
        ({1: 2}, "text for keys"),
        (b"bytes", "JSON"),
        (nested(DEPTH_MAX), "16 deep"),
        (nested(500), "16 deep"),
    ],
)
def test_what_a_record_cannot_hold_is_refused_with_a_reason(details: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        reported(details)


def test_details_up_to_each_limit_are_taken() -> None:
    for details in ("x" * (DETAILS_BYTES_MAX - 5), 2**63 - 1, nested(DEPTH_MAX - 1)):
        assert reported(details) == details
