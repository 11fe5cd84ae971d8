"""The topics of the wire contract."""

from __future__ import annotations

import uuid

import pytest

from teddy_edge.topics import Topics, bear_of, last_level

TOPICS = Topics("bear-001")


def test_the_topics_are_those_of_the_contract() -> None:
    command_id = uuid.UUID(int=1)
    assert TOPICS.command("register_child") == "teddy/v1/bear-001/command/register_child"
    assert TOPICS.result(command_id) == f"teddy/v1/bear-001/result/{command_id}"
    assert TOPICS.answer(command_id) == f"teddy/v1/bear-001/answer/{command_id}"
    assert TOPICS.state("child", "c1") == "teddy/v1/bear-001/state/child/c1"
    assert TOPICS.events == "teddy/v1/bear-001/events"
    assert last_level(TOPICS.query("get_child_profile")) == "get_child_profile"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "replies/+",
        "replies/#",
        "re\0plies",
        "x" * 257,
        "1/2/3/4/5/6/7/8/9",
        "$SYS/broker/version",
        "$share/group/replies",
        "teddy/v1",
        "teddy/v1/",
        "teddy/v1/bear-002/command/register_child",
        "teddy/v1/bear-002/confirmed",
        "teddy/v1/bear-002/result/mine",
        "teddy/v1/bear-002/answer/mine",
        "teddy/v1/bear-002/state/child/c1",
        "teddy/v1/bear-002/events",
        "teddy/v1/bear-001/events",
        "teddy/v1/bear-001/urgent",
        "teddy/v1/bear-001/status",
        "teddy/v1/bear-001/state/child/c1",
        "teddy/v1/bear-001/query/get_child_profile",
        "teddy/v1/bear-001/replay",
        "teddy/v1/bear-001/result",
        "teddy/v1//command/register_child",
    ],
)
def test_a_reply_cannot_be_aimed_at_a_bear_or_speak_for_one(topic: str) -> None:
    assert not TOPICS.may_be_answered_on(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "cloud/replies/7",
        "x" * 256,
        "1/2/3/4/5/6/7/8",
        "teddy/v10/replies",
        "teddy/v1/bear-001/result/mine",
        "teddy/v1/bear-001/answer/mine",
    ],
)
def test_a_reply_may_go_where_the_cloud_listens(topic: str) -> None:
    assert TOPICS.may_be_answered_on(topic)


@pytest.mark.parametrize(
    ("topic", "bear"),
    [
        ("teddy/v1/bear-001/events", "bear-001"),
        ("teddy/v1/bear-001/result/x", "bear-001"),
        ("teddy/v1/b ear/events", None),
        ("teddy/v1//events", None),
        ("teddy/v1/bear-001", None),
        ("other/teddy/v1/bear-001/events", None),
    ],
)
def test_the_bear_is_read_from_a_topic_of_the_contract(topic: str, bear: str | None) -> None:
    assert bear_of(topic) == bear
