"""The guide's eight scenarios, on a bear of their own in a temporary folder.

    python -m teddy_edge.examples

Each function is one scenario and shows what a program that uses the library would write.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from teddy_edge.clock import NS_PER_S, SystemClock
from teddy_edge.cqrs_service import CQRSService
from teddy_edge.errors import ServiceClosed
from teddy_edge.messages import Answer, Result
from teddy_edge.settings import Settings

PARENT: Final = "parent-123"
STRANGER: Final = "parent-999"
METRICS: Final = {
    "command_throughput": "commands a second",
    "query_response_time": "ms, the median",
    "cache_hit_rate": "% of the answers came from the cache",
    "error_rate": "of all commands and queries, from 0 to 1",
    "read_model_freshness": "s behind the events",
}


async def child_registration(cqrs: CQRSService) -> str:
    """Register a child; gives its id."""
    title(1, "Child Registration")
    command_id = uuid4()
    first = await register(cqrs, "Emma", 7, command_id=command_id)
    say(f"Emma is registered: {first.status}, event {first.seq} is on the card")
    again = await register(cqrs, "Emma", 7, command_id=command_id)
    same = "the same result" if again.data == first.data else "another result"
    say(f"the same command comes again: {same}, marked as a duplicate: {again.duplicate}")
    say(f"the same udid under a new command: {outcome(await register(cqrs, 'Emma', 7))}")
    say(f"a child of 70: {outcome(await register(cqrs, 'Olga', 70))}")
    return str(first.data["child_id"])


async def profile_queries(cqrs: CQRSService, emma: str) -> str:
    """Talk, and read the profile twice; gives the conversation's id."""
    title(2, "Profile Queries")
    conversation = (await cqrs.start_conversation(emma)).data["conversation_id"]
    await cqrs.record_conversation_turn(
        conversation, "child", topics=["dragons"], sentiment=0.8, duration_s=4.0
    )
    await cqrs.record_conversation_turn(
        conversation, "bear", topics=["dragons", "sleep"], duration_s=9.0
    )
    await cqrs.end_conversation(conversation)
    profile = data_of(await cqrs.get_child_profile(emma, user_id=PARENT))
    say(f"{profile['name']} is {profile['age']}, of the group {profile['age_group']}")
    say(f"she talked {profile['talked_s']:g} s in {profile['conversation_count']} conversation")
    say(f"her safety status: {profile['safety_status']}")
    hits = (await cqrs.get_health_status())["cache"]["hits"]
    await cqrs.get_child_profile(emma, user_id=PARENT)
    hits = (await cqrs.get_health_status())["cache"]["hits"] - hits
    say(f"asked again: {hits} answer came from the cache")
    return str(conversation)


async def profile_updates(cqrs: CQRSService, emma: str) -> None:
    """Change a profile, and see it at once."""
    title(3, "Profile Updates")
    likes = {"favorite_stories": ["dragons", "princesses"], "learning_style": "visual"}
    changes = {"age": 8, "preferences": likes}
    say(f"a birthday: {outcome(await cqrs.update_child_profile(emma, changes))}")
    profile = data_of(await cqrs.get_child_profile(emma, user_id=PARENT))
    say(f"the very next answer: {profile['age']} years, {profile['preferences']}")
    theft = await cqrs.update_child_profile(emma, {"parent_id": STRANGER})
    say(f"another parent in the profile: {outcome(theft)}")


async def safety_violations(cqrs: CQRSService, emma: str) -> None:
    """Report violations, and read the report that lists them."""
    title(4, "Safety Violations")
    await cqrs.report_safety_violation(emma, "rude_words", "low")
    details = {"asked_for": "the address"}
    await cqrs.report_safety_violation(emma, "stranger_contact", "critical", details)
    report = data_of(await cqrs.get_child_safety_report(emma, a_month_ago(), user_id=PARENT))
    for violation in report["violations"]:
        said = "" if violation["details"] is None else f", {violation['details']}"
        say(f"{violation['severity']}: {violation['violation_type']}{said}")
    say(f"score {report['score']} of 100, from the {report['violation_count']} violations above")
    profile = data_of(await cqrs.get_child_profile(emma, user_id=PARENT))
    say(f"her safety status: {profile['safety_status']}")


async def parent_dashboard(cqrs: CQRSService) -> None:
    """Read a parent's children page by page."""
    title(5, "Parent Dashboard")
    for name, age in (("Noah", 5), ("Emil", 3), ("Mia", 11)):
        await register(cqrs, name, age)
    cursor: str | None = "0"
    while cursor is not None:
        page = data_of(await cqrs.get_children_by_parent(PARENT, 2, cursor, user_id=PARENT))
        names = ", ".join(f"{child['name']} ({child['age']})" for child in page["children"])
        say(f"a page of {page['total']} children: {names}")
        cursor = page["next_cursor"]
    stranger = await cqrs.get_children_by_parent(PARENT, user_id=STRANGER)
    say(f"a stranger asks: {outcome(stranger)}")


async def search_and_analytics(cqrs: CQRSService, emma: str) -> None:
    """Search children, and read what one of them did."""
    title(6, "Search and Analytics")
    found = data_of(await cqrs.search_children("em", age_range=(6, 8), parent_id=PARENT))
    say(f"'em', 6 to 8 years old: {[child['name'] for child in found['children']]}")
    analytics = data_of(await cqrs.get_child_analytics(emma, a_month_ago()))
    say(f"Emma this month: {analytics['turn_count']} turns, {analytics['duration_s']:g} s of talk")
    say(f"what she talked about: {analytics['top_topics']}")
    conversations = data_of(await cqrs.get_conversations(emma))["conversations"]
    say(f"her conversations: {len(conversations)}, of {conversations[0]['turn_count']} turns")


async def health_monitoring(cqrs: CQRSService, emma: str) -> None:
    """Measure, and build the read models anew."""
    title(7, "Health Monitoring")
    health = await cqrs.get_health_status()
    for name, unit in METRICS.items():
        say(f"{name}: {health[name]:.3g} {unit}")
    before = data_of(await cqrs.get_child_profile(emma))
    await cqrs.rebuild()
    is_same = before == data_of(await cqrs.get_child_profile(emma))
    say(f"rebuilt from {health['log']['last_seq']} events, the answers are the same: {is_same}")


async def error_handling(cqrs: CQRSService, emma: str, conversation: str) -> None:
    """Do what cannot be done."""
    title(8, "Error Handling")
    unknown = await cqrs.get_child_profile("nobody")
    say(f"a child that is not there: {outcome(unknown)}")
    severity = await cqrs.report_safety_violation(emma, "rude_words", "extreme")
    say(f"a severity that is not known: {outcome(severity)}")
    turn = await cqrs.record_conversation_turn(conversation, "child")
    say(f"a turn in a conversation that ended: {outcome(turn)}")
    await cqrs.deactivate_child(emma, reason="moved away")
    talk = await cqrs.start_conversation(emma)
    say(f"a conversation with a child that left: {outcome(talk)}")
    await cqrs.close()
    try:
        await cqrs.get_child_profile(emma)
    except ServiceClosed as error:
        say(f"a question after the end: {error}")


async def register(cqrs: CQRSService, name: str, age: int, **options: Any) -> Result:
    """Register a child of the parent, with a udid made of its name."""
    return await cqrs.register_child(
        parent_id=PARENT, device_id="bear-001", name=name, age=age, udid=f"udid-{name}", **options
    )


def a_month_ago() -> datetime:
    """Where a month's report begins."""
    return datetime.fromtimestamp(SystemClock().wall_ns() / NS_PER_S, UTC) - timedelta(days=30)


def data_of(answer: Answer) -> Mapping[str, Any]:
    """What a query gave that must not fail here."""
    assert answer.data is not None, answer.error
    return answer.data


def outcome(ended: Result | Answer) -> str:
    """Say how a command or a query ended."""
    if ended.error is None:
        return "done"
    field = f", field {ended.error.field}" if ended.error.field else ""
    return f"refused, {ended.error.message} [{ended.error.code}{field}]"


def title(number: int, name: str) -> None:
    """Begin a scenario."""
    print(f"\n{number}. {name}")


def say(line: str) -> None:
    """Tell what happened."""
    print(f"   {line}")


async def run(data_directory: Path) -> None:
    """Run the scenarios, one after the other."""
    cqrs = CQRSService(lambda: Settings(data_directory=data_directory))
    await cqrs.initialize()
    emma = await child_registration(cqrs)
    conversation = await profile_queries(cqrs, emma)
    await profile_updates(cqrs, emma)
    await safety_violations(cqrs, emma)
    await parent_dashboard(cqrs)
    await search_and_analytics(cqrs, emma)
    await health_monitoring(cqrs, emma)
    await error_handling(cqrs, emma, conversation)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
