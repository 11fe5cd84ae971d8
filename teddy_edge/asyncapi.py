"""The wire contract as an AsyncAPI 3 document, made from the types that the bear reads and writes.

python -m teddy_edge.asyncapi > docs/asyncapi.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from teddy_edge.commands import register_handlers  # noqa: F401 (defines every command)
from teddy_edge.domain.command import Command
from teddy_edge.messages import Answer, CommandEnvelope, Origin, QueryEnvelope, Result
from teddy_edge.queries import register_queries  # noqa: F401 (defines every query)
from teddy_edge.queries.bus import Query
from teddy_edge.sync.signals import (
    BearStatus,
    Confirmation,
    Pending,
    ReadModelState,
    Replay,
    UrgentEvent,
)
from teddy_edge.sync.wire import CONTENT_TYPE, VERSION, BatchContent
from teddy_edge.topics import PREFIX

JSON: Final = "application/json"
OURS: Final = "teddy_edge."
PARAMETERS: Final = {
    "bear": "The bear's id: 1 to 64 letters, digits, _ or -.",
    "name": "What is sent, as in register_child.",
    "command_id": "The command's UUID.",
    "query_id": "The query's UUID.",
    "model": "bear, child or safety.",
    "row_id": "The bear's or the child's id.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic below `teddy/v1/{bear}`: who publishes there, and what."""

    name: str
    topic: str
    by_bear: bool
    model: type[BaseModel]
    retained: bool = False
    content_type: str = JSON

    @property
    def summary(self) -> str:
        """The first paragraph of what its type says."""
        return " ".join((self.model.__doc__ or "").split("\n\n")[0].split())


CHANNELS: Final = (
    Channel("command", "command/{name}", by_bear=False, model=CommandEnvelope),
    Channel("result", "result/{command_id}", by_bear=True, model=Result),
    Channel("pending", "pending", by_bear=True, model=Pending),
    Channel("query", "query/{name}", by_bear=False, model=QueryEnvelope),
    Channel("answer", "answer/{query_id}", by_bear=True, model=Answer),
    Channel("events", "events", by_bear=True, model=BatchContent, content_type=CONTENT_TYPE),
    Channel(
        "urgent", "urgent", by_bear=True, model=UrgentEvent,
        content_type="application/cloudevents+json",
    ),
    Channel("confirmed", "confirmed", by_bear=False, model=Confirmation, retained=True),
    Channel("replay", "replay", by_bear=False, model=Replay),
    Channel("state", "state/{model}/{row_id}", by_bear=True, model=ReadModelState, retained=True),
    Channel("status", "status", by_bear=True, model=BearStatus, retained=True),
)  # fmt: skip
"""Every topic of the contract."""


def document() -> dict[str, Any]:
    """Make the document. Operations are the bear's: it sends and it receives."""
    commands, queries = _named(Command.__subclasses__()), _named(Query.__subclasses__())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Teddy Edge",
            "version": str(VERSION),
            "description": "What a bear and its cloud say to each other; see docs/protocol.md.",
        },
        "defaultContentType": JSON,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {channel.name: _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {channel.name: _message(channel) for channel in CHANNELS},
            "schemas": {
                **_schemas([channel.model for channel in CHANNELS]),
                **_data_schemas("command", commands),
                **_data_schemas("query", queries),
            },
        },
    }


def _named(kinds: Iterable[Any]) -> Mapping[str, type[BaseModel]]:
    """Choose what may be sent over MQTT, by its name on the wire, among what is ours."""
    return {
        each.wire_name: each
        for each in sorted(kinds, key=lambda each: str(each.wire_name))
        if each.__module__.startswith(OURS) and Origin.MQTT in getattr(each, "origins", Origin)
    }


def _channel(channel: Channel) -> dict[str, Any]:
    parameters = [name for name in PARAMETERS if f"{{{name}}}" in f"{{bear}}/{channel.topic}"]
    return {
        "address": f"{PREFIX}/{{bear}}/{channel.topic}",
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
        "parameters": {name: {"description": PARAMETERS[name]} for name in parameters},
    }


def _operation(channel: Channel) -> dict[str, Any]:
    return {
        "action": "send" if channel.by_bear else "receive",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.summary,
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retained, "bindingVersion": "0.2.0"}},
    }


def _message(channel: Channel) -> dict[str, Any]:
    return {
        "contentType": channel.content_type,
        "payload": {"$ref": f"#/components/schemas/{channel.model.__name__}"},
    }


def _schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _data_schemas(kind: str, types: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Say what `data` holds, for each name; parts that several share stand there once."""
    schemas = _schemas(types.values())
    for name, each in types.items():
        schemas[f"{kind}.{name}"] = schemas.pop(each.__name__)
    return schemas


def main() -> None:
    """Print the document."""
    json.dump(document(), sys.stdout, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
