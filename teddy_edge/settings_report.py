"""What is wrong with the settings, told to whoever wrote them.

Each problem names where it was read (the file, or the environment variable), the key, what came and
what is accepted. What is accepted is taken from the models' own schema. No password is ever shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from teddy_edge.errors import SettingProblem
from teddy_edge.settings_agreement import KeyPath, disagreements

Schema = dict[str, Any]

DEFAULTS = "the defaults"
TYPES: dict[type, tuple[str, ...]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    str: ("string",),
    list: ("array",),
}
"""A TOML value's type, and the schema's types that it satisfies."""
JSON_TYPES: dict[str, type] = {"object": dict, "array": list}
"""The schema's types that an environment variable gives as JSON."""


class SettingsReport:
    """Finds and words the problems of one file and one environment."""

    def __init__(
        self, model: type[BaseSettings], file: Path | None, environment: Mapping[str, str]
    ) -> None:
        """Take the environment as the variables of ours, by upper-case name."""
        self._schema = model.model_json_schema()
        self._file = DEFAULTS if file is None else str(file)
        self._environment = environment
        self._prefix = str(model.model_config["env_prefix"])
        self._delimiter = str(model.model_config["env_nested_delimiter"])

    def of_environment(self) -> Iterator[SettingProblem]:
        """Yield variables that name no key, and tables and lists that are not JSON."""
        for name, value in self._environment.items():
            source = _variable(name)
            path = tuple(name.removeprefix(self._prefix).lower().split(self._delimiter))
            schema = self._schema_at(path)
            if schema is None:
                accepted = f"a key's path, as in {self._prefix}BROKER{self._delimiter}PORT"
                yield SettingProblem(source, None, "a name that is no setting", accepted)
            elif (kind := schema.get("type")) in JSON_TYPES and not _is_json(kind, value):
                accepted = f"{_described(schema)}, as JSON"
                yield SettingProblem(source, ".".join(path), "other text", accepted)

    def of_types(self, values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[SettingProblem]:
        """Yield values of the file whose TOML type is not the key's; text is no number there."""
        for key, value in values.items():
            here = (*path, key)
            schema = self._schema_at(here)
            if isinstance(value, dict):
                yield from self.of_types(value, here)
            elif schema is not None and schema["type"] not in TYPES.get(type(value), ()):
                yield self._problem(here, _shown(here, value), _described(schema), self._file)

    def of_validation(self, error: ValidationError) -> Iterator[SettingProblem]:
        """Yield what the models refused."""
        for detail in error.errors(include_url=False):
            path = tuple(str(part) for part in detail["loc"])
            if detail["type"] == "extra_forbidden":
                yield self._problem(path, "an unknown key", self._known_keys(path[:-1]))
            elif path[-1] == "[key]":
                yield self._problem(path[:-1], "this name", self._known_keys(path[:-2]))
            else:
                yield self._problem(path, _shown(path, detail["input"]), self.accepted(path))

    def of_agreement(self, settings: Mapping[str, Any]) -> Iterator[SettingProblem]:
        """Yield what is right by itself and does not go with another setting."""
        for path, accepted in disagreements(settings):
            value: Any = settings
            for key in path:
                value = value[key]
            yield self._problem(path, _shown(path, value), accepted)

    def accepted(self, path: KeyPath) -> str:
        """Say what a key accepts, in the words of every complaint about it."""
        return _described(self._schema_at(path) or {})

    def _problem(
        self, path: KeyPath, given: str, accepted: str, source: str | None = None
    ) -> SettingProblem:
        return SettingProblem(source or self._source_of(path), ".".join(path), given, accepted)

    def _source_of(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            name = self._prefix + self._delimiter.join(path[:length]).upper()
            value = self._environment.get(name)
            if value is not None and (length == len(path) or f'"{path[-1]}"' in value):
                return _variable(name)
        return self._file

    def _schema_at(self, path: KeyPath) -> Schema | None:
        schema = self._schema
        for key in path:
            any_key: list[Schema] = list(schema.get("patternProperties", {}).values())
            any_item = schema.get("items") if key.isdigit() else None
            inner = schema.get("properties", {}).get(key) or next(iter(any_key), any_item)
            if inner is None:
                return None
            schema = self._resolved(inner)
        return schema

    def _resolved(self, schema: Schema) -> Schema:
        if "anyOf" in schema:  # something, or nothing
            schema = next(option for option in schema["anyOf"] if option.get("type") != "null")
        if "$ref" in schema:
            return dict(self._schema["$defs"][schema["$ref"].rpartition("/")[2]])
        return schema

    def _known_keys(self, path: KeyPath) -> str:
        schema = self._schema_at(path) or {}
        if "patternProperties" in schema:
            return "names like " + ", ".join(schema["patternProperties"])
        return "one of " + ", ".join(sorted(schema["properties"]))


def _variable(name: str) -> str:
    return f"environment variable {name}"


def _is_json(kind: str, text: str) -> bool:
    try:
        return isinstance(json.loads(text), JSON_TYPES[kind])
    except ValueError:
        return False


def _shown(path: KeyPath, value: object) -> str:
    if "password" in path:
        return "a value that is not shown"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return (json.dumps(value) if isinstance(value, str | bool) else str(value))[:80]


def _described(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    if "pattern" in schema:
        return str(schema.get("description", f"text like {schema['pattern']}"))
    if schema.get("type") == "array":
        return f"a list, {schema['description']}: {_described(schema['items'])}"
    if schema.get("format") == "path":
        return "a path"
    kinds = {
        "integer": "a whole number" + _range(schema),
        "number": "a number" + _range(schema),
        "boolean": "true or false",
        "object": "a table",
    }
    return kinds.get(schema.get("type", ""), "text")


def _range(schema: Schema) -> str:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if high is None:
        return ""
    return f" from {low} to {high}" if above is None else f" above {above}, up to {high}"
