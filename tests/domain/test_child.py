"""The rules about children, without anything around them."""

from __future__ import annotations

import pytest

from teddy_edge.domain.child import Child, RegisterChild, evolve, register
from teddy_edge.errors import CommandRejected
from teddy_edge.events import BearStarted, ChildRegistered

COMMAND = RegisterChild(
    parent_id="parent-123", device_id="device-456", name=" Emma ", age=7, udid="udid-1"
)
EMMA = Child(child_id="child-1", parent_id="parent-123", udid="udid-1")


def test_a_child_is_registered_under_the_id_given() -> None:
    (event,) = register(None, COMMAND, "child-1")
    assert event == ChildRegistered(
        child_id="child-1",
        parent_id="parent-123",
        device_id="device-456",
        name="Emma",
        age=7,
        udid="udid-1",
    )


def test_a_udid_is_registered_once() -> None:
    with pytest.raises(CommandRejected) as caught:
        register(EMMA, COMMAND, "child-2")
    assert (caught.value.code, caught.value.field) == ("already_registered", "data.udid")


def test_the_registered_child_is_what_the_event_says() -> None:
    (event,) = register(None, COMMAND, "child-1")
    assert evolve(None, event) == EMMA


def test_an_event_of_something_else_changes_no_child() -> None:
    assert evolve(EMMA, BearStarted(version="1")) is EMMA


def test_a_command_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        COMMAND.age = 8  # type: ignore[misc]
