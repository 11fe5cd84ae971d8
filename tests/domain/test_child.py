"""The rules about children, without anything around them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from teddy_edge.domain.child import (
    Child,
    DeactivateChild,
    ProfileChanges,
    RegisterChild,
    ReportSafetyViolation,
    UpdateChildProfile,
    decide,
    evolve,
    register,
)
from teddy_edge.domain.command import Command
from teddy_edge.errors import CommandRejected
from teddy_edge.events import (
    BearStarted,
    ChildDeactivated,
    ChildProfileUpdated,
    ChildRegistered,
    SafetyViolationReported,
)

REGISTER = RegisterChild(
    parent_id="parent-123", device_id="device-456", name=" Emma ", age=7, udid="udid-1"
)
EMMA = Child(child_id="child-1", parent_id="parent-123", udid="udid-1")
GONE = Child(child_id="child-1", parent_id="parent-123", udid="udid-1", is_active=False)
VIOLATION = ReportSafetyViolation(
    child_id="child-1", violation_type="stranger", severity="critical", details={"who": "unknown"}
)
COMMANDS: list[Any] = [
    UpdateChildProfile(child_id="child-1", changes=ProfileChanges(age=8)),
    VIOLATION,
    DeactivateChild(child_id="child-1"),
]


def test_a_child_is_registered_under_the_id_given() -> None:
    (event,) = register(None, REGISTER, "child-1")
    assert event == ChildRegistered(
        child_id="child-1",
        parent_id="parent-123",
        device_id="device-456",
        name="Emma",
        age=7,
        udid="udid-1",
    )


@pytest.mark.parametrize("state", [EMMA, GONE])
def test_a_udid_is_registered_once(state: Child) -> None:
    with pytest.raises(CommandRejected) as caught:
        register(state, REGISTER, "child-2")
    assert (caught.value.code, caught.value.field) == ("already_registered", "data.udid")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.wire_name)
def test_nothing_is_done_with_an_unknown_or_deactivated_child_and_nobody_learns_which(
    command: Any,
) -> None:
    refusals = []
    for state in (None, GONE):
        with pytest.raises(CommandRejected) as caught:
            decide(state, command)
        refusals.append((caught.value.code, caught.value.message, caught.value.field))
    assert refusals[0] == refusals[1]
    assert refusals[0][::2] == ("unknown_child", "data.child_id")


def test_an_update_holds_the_given_fields_and_no_others() -> None:
    changes = ProfileChanges.model_validate({"age": 8, "preferences": {"learning_style": "visual"}})
    events = decide(EMMA, UpdateChildProfile(child_id="child-1", changes=changes))
    assert events == [
        ChildProfileUpdated("child-1", {"age": 8, "preferences": {"learning_style": "visual"}})
    ]


@pytest.mark.parametrize("changes", [{}, {"age": None}, {"preferences": {}}])
def test_an_update_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    command = UpdateChildProfile(child_id="child-1", changes=ProfileChanges(**changes))
    with pytest.raises(CommandRejected) as caught:
        decide(EMMA, command)
    assert (caught.value.code, caught.value.field) == ("nothing_to_change", "data.changes")


@pytest.mark.parametrize(
    "changes",
    [
        {"parent_id": "parent-666"},
        {"udid": "udid-2"},
        {"is_active": True},
        {"device_id": "device-1"},
        {"preferences": {"colour": "red"}},
        {"preferences": {"favorite_stories": ["dragon"] * 21}},
        {"preferences": {"learning_style": "osmosis"}},
        {"preferences": {"language": "english"}},
        {"age": 0},
        {"age": 18},
        {"age": 7.5},
        {"name": ""},
    ],
)
def test_no_other_field_can_be_changed_and_none_to_anything(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UpdateChildProfile.model_validate({"child_id": "child-1", "changes": changes})


@pytest.mark.parametrize("severity", ["low", "medium", "high", "critical"])
def test_a_violation_is_kept_as_it_was_reported(severity: Any) -> None:
    details = {"words": ["  as they were "], "at": 1.5, "repeated": True, "note": None}
    command = ReportSafetyViolation(
        child_id="child-1", violation_type="stranger", severity=severity, details=details
    )
    assert decide(EMMA, command) == [
        SafetyViolationReported("child-1", "stranger", severity, details)
    ]


@pytest.mark.parametrize("severity", ["Critical", "severe", "", None, 4])
def test_a_severity_that_is_not_one_is_refused_and_never_guessed(severity: Any) -> None:
    with pytest.raises(ValidationError):
        ReportSafetyViolation(child_id="c", violation_type="stranger", severity=severity)


def test_a_deactivation_says_why() -> None:
    command = DeactivateChild(child_id="child-1", reason="moved away")
    assert decide(EMMA, command) == [ChildDeactivated("child-1", "moved away")]


def test_the_registered_child_is_what_the_event_says() -> None:
    (event,) = register(None, REGISTER, "child-1")
    assert evolve(None, event) == EMMA


def test_a_deactivated_child_is_not_active() -> None:
    assert evolve(EMMA, ChildDeactivated("child-1", None)) == GONE


def test_an_event_of_something_else_changes_no_child() -> None:
    assert evolve(EMMA, BearStarted(version="1")) is EMMA


@pytest.mark.parametrize("command", [REGISTER, *COMMANDS], ids=lambda each: each.wire_name)
def test_a_command_cannot_be_changed(command: Command) -> None:
    field = next(iter(type(command).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(command, field, "another")
