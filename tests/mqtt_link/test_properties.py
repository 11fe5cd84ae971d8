"""The properties that we pack ourselves, beside paho's."""

from __future__ import annotations

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from teddy_edge.mqtt_link.client import publish_properties


@pytest.mark.parametrize("content_type", [None, "application/json", "text/tête"])
@pytest.mark.parametrize("correlation_data", [None, b"", b"1", bytes(127), bytes(65_535)])
def test_they_are_packed_as_paho_packs_them(
    correlation_data: bytes | None, content_type: str | None
) -> None:
    """Byte by byte, with nothing where nothing goes with a message."""
    theirs = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if correlation_data is not None:
        theirs.CorrelationData = correlation_data
    if content_type is not None:
        theirs.ContentType = content_type
    ours = publish_properties(correlation_data, content_type)
    assert (b"\0" if ours is None else ours.pack()) == theirs.pack()  # type: ignore[no-untyped-call]
