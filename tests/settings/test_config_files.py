"""The files in config/ say what the models say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from teddy_edge.settings import Section, Settings, load_settings
from teddy_edge.settings_report import SettingsReport

CONFIG = Path(__file__).parents[2] / "config"
COMMENTED = CONFIG / "teddy-edge.toml"


def keys(values: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every key of the models with its value."""
    for name in type(values).model_fields:
        value = getattr(values, name)
        if isinstance(value, Section):
            yield from keys(value, (*path, name))
        else:
            yield (*path, name), value


KEYS = dict(keys(Settings()))


def lines_above(path: tuple[str, ...]) -> list[str]:
    """The comment right above a key, in its section."""
    *sections, name = path
    text = COMMENTED.read_text()
    section = text.partition(f"\n[{'.'.join(sections)}]\n")[2] if sections else text
    found = re.search(
        rf"((?:^#.*\n)+)(?:# )?(?:{name} = |\[{'.'.join(path)}\])", section, re.MULTILINE
    )
    assert found is not None, f"{path} is not in {COMMENTED}"
    return found[1].splitlines()


def written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {written(inner)}" for key, inner in value.items())
    return "none" if value is None else json.dumps(str(value) if isinstance(value, Path) else value)


def test_the_commented_file_holds_every_key_that_has_a_default() -> None:
    sections = tomllib.loads(COMMENTED.read_text())
    found = {(name, *rest) for name in sections for rest in _inner(sections[name])}
    assert found == {path for path, value in KEYS.items() if value is not None}


def _inner(value: object) -> list[tuple[str, ...]]:
    return [(name,) for name in value] if isinstance(value, dict) else [()]


def test_the_commented_file_changes_nothing() -> None:
    assert load_settings(COMMENTED) == Settings()


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_key_is_explained_with_its_default_and_what_it_accepts(path: tuple[str, ...]) -> None:
    value = KEYS[path]
    any_name = ("*",) if isinstance(value, dict) else ()
    accepted = SettingsReport(Settings, None, {}).accepted((*path, *any_name))
    *explanation, last = lines_above(path)
    assert last == f"# Default: {written(value)}. Accepted: {accepted}."
    assert explanation


def test_unsigned_commands_are_obeyed_in_development_only() -> None:
    assert load_settings(CONFIG / "development.toml").commands.allow_unsigned
    assert not load_settings(COMMENTED).commands.allow_unsigned
