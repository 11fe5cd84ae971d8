"""The AsyncAPI document says what the code does, and is one by the specification's own schema.

The schema is that of the package @asyncapi/specs 6.11.1 (Apache-2.0; its licence lies beside it).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest

from teddy_edge.asyncapi import document
from teddy_edge.topics import Topics

PROJECT = Path(__file__).parents[1]
SCHEMA = PROJECT / "tests" / "fixtures" / "asyncapi" / "3.0.0.json.gz"


def problems(content: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


def test_the_document_is_current() -> None:
    """Write it anew: python -m teddy_edge.asyncapi > docs/asyncapi.json."""
    assert json.loads((PROJECT / "docs" / "asyncapi.json").read_text()) == document()


def test_the_document_is_valid() -> None:
    assert problems(document()) == []


@pytest.mark.parametrize("part", ["info", "channels", "operations"])
def test_what_is_no_asyncapi_is_seen(part: str) -> None:
    assert problems({**document(), part: {"wrong": {"adress": 1}}}) != []


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (str(value) for key, value in part.items() if key == "$ref")
    for inner in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    content = document()
    found = set(references(content))
    assert len(found) > 20
    for reference in found:
        part: Any = content
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_every_topic_of_the_bear_is_in_it() -> None:
    topics, some_id = Topics("{bear}"), UUID(int=7)
    addresses = {channel["address"] for channel in document()["channels"].values()}
    assert addresses == {
        topics.command("{name}"),
        topics.result(some_id).replace(str(some_id), "{command_id}"),
        topics.query("{name}"),
        topics.answer(some_id).replace(str(some_id), "{query_id}"),
        topics.state("{model}", "{row_id}"),
        *(topics.events, topics.urgent, topics.confirmed, topics.replay),
        *(topics.pending, topics.status),
    }


def test_every_command_says_what_its_data_is() -> None:
    schemas = document()["components"]["schemas"]
    required = schemas["command.register_child"]["required"]
    assert set(required) == {"parent_id", "device_id", "name", "age", "udid"}
    assert "command.press_button" not in schemas, "only a paw sends it"
    assert "query.get_bear_state" in schemas
