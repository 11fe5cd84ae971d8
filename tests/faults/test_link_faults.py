"""Every command has one effect and one end, every event arrives once, whatever the link does."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.faults.command_sender import Load
from tests.faults.participants import Participants, as_it_is
from tests.faults.settled import BearLog, check_commands, check_presses, check_receiver

FAULTS = int(os.environ.get("LINK_FAULTS", "20"))
COMMANDS = int(os.environ.get("LINK_COMMANDS", "2000"))
SEED = int(os.environ.get("LINK_SEED", "0")) or SystemRandom().randrange(1, 2**32)
PRESSES = 3
"""With each fault, beside the commands."""


@dataclass(frozen=True)
class Campaign:
    """How much is to happen; `kinds` are beginnings of the names of faults, or none for all."""

    seed: int = SEED
    faults: int = FAULTS
    commands: int = COMMANDS
    kinds: tuple[str, ...] = ("",)
    settle_s_max: float = 120.0


async def run(campaign: Campaign, participants: Participants) -> None:
    """Let everything happen, wait until it is settled, and check what came of it."""
    print(f"LINK_SEED={campaign.seed}")
    began_s = time.monotonic()
    async with participants.at_work():
        happened = await harm(campaign, participants)
        harmed_s = time.monotonic() - began_s
        await settle(campaign, participants)
        settled_s = time.monotonic() - began_s - harmed_s
        await participants.stop()
    print(f"{happened.total()} faults in {harmed_s:.0f} s, settled {settled_s:.1f} s later")
    for fault, count in sorted(happened.items()):
        print(f"  {count:4} {fault}")
    await check(participants)


async def harm(campaign: Campaign, participants: Participants) -> Counter[str]:
    """Let the faults happen, each while commands and events are on their way."""
    random = Random(campaign.seed)
    load = Load(participants.sender, random)
    await load.begin()
    happened: Counter[str] = Counter()
    for fault, inflict in schedule(campaign, participants, random):
        if happened.total() == campaign.faults:
            break
        sending = asyncio.create_task(load.send(campaign.commands // campaign.faults))
        pressing = asyncio.create_task(participants.press(PRESSES))
        await asyncio.sleep(random.uniform(0, 0.2))
        happened[fault] += await inflict()
        await sending
        await pressing
    return happened


def schedule(
    campaign: Campaign, participants: Participants, random: Random
) -> Iterator[tuple[str, Callable[[], Awaitable[bool]]]]:
    """Draw every fault once, in any order, and again without end."""
    every = participants.faults().items()
    faults = [fault for fault in every if fault[0].startswith(campaign.kinds)]
    while True:
        yield from random.sample(faults, len(faults))


async def settle(campaign: Campaign, participants: Participants) -> None:
    """Wait until every command has a result, and the cloud has confirmed every event."""
    log: dict[str, int] = {}
    try:
        async with asyncio.timeout(campaign.settle_s_max):
            await participants.sender.until_all_ended()
            while not log or log["confirmed_seq"] < log["last_seq"]:
                await asyncio.sleep(0.1)
                status = await asyncio.to_thread(participants.bear.client.status)
                log = status.body["log"]
    except TimeoutError:
        left = f"{participants.sender.open_count} commands without a result, log {log}"
        raise AssertionError(f"{left}\n{participants.log_tails()}") from None


async def check(participants: Participants) -> None:
    """Read what the bear and the cloud have, now that both have stopped."""
    log = await BearLog.read(participants.bear.data_directory / "log")
    sender, records = participants.sender, log.records()
    duplicates = sum(len(results) - 1 for results in sender.results.values())
    statuses = Counter(results[0].status for results in sender.results.values())
    print(
        f"{len(sender.names)} commands, {dict(statuses)}, {sender.sent_again} sent again, "
        f"{duplicates} results told again, {len(records)} events"
    )
    check_commands(records, sender.names, sender.results)
    check_presses(records, participants.told.acknowledged)
    check_receiver(participants.database, log)


async def test_every_command_ends_once_and_every_event_arrives_once(tmp_path: Path) -> None:
    await run(Campaign(), Participants(tmp_path, Random(SEED)))


@dataclass(frozen=True)
class Mutant:
    """A mistake (see `link_mutants`), the faults that bring it to light, and what is then said."""

    mistake: str
    kind: str
    complaint: str
    faults: int = 4


MUTANTS = (
    Mutant("forget_what_ended", "sender: session lost", "commands, as"),
    Mutant("tell_before_it_is_durable", "bear: dies", "commands, as|a press at"),
    Mutant("take_what_leaves_a_gap", "receiver: session lost", "lost|urgent", 12),
)
AT_A_TIME = 400
"""Commands with each fault, so many that they are still on their way when it happens."""
CAMPAIGNS_MAX = 3
MUTANTS_TRIED = int(os.environ.get("LINK_MUTANTS", "1"))


@pytest.mark.parametrize("mutant", MUTANTS[:MUTANTS_TRIED], ids=lambda mutant: mutant.mistake)
async def test_a_mistake_is_seen(tmp_path: Path, mutant: Mutant) -> None:
    """Where no fault happened to hit a command on its way, there was nothing to see: once more."""
    complaints = []
    for seed in range(SEED, SEED + CAMPAIGNS_MAX):
        directory = tmp_path / str(seed)
        directory.mkdir()
        complaints.append(await complaint_about(mutant, directory, seed))
        print(f"{mutant.mistake}: {complaints[-1][:300]}")
        if re.search(mutant.complaint, complaints[-1]):
            return
    pytest.fail(f"{mutant.mistake} was not seen: {complaints}")


async def complaint_about(mutant: Mutant, directory: Path, seed: int) -> str:
    """Run a short campaign with the mistake; gives what is said of it, or nothing."""
    commands = AT_A_TIME * mutant.faults
    campaign = Campaign(seed, mutant.faults, commands, kinds=(mutant.kind,), settle_s_max=60)
    with_mistake = functools.partial(as_it_is, "tests.faults.link_mutants", mutant.mistake)
    participants = Participants(directory, Random(seed), with_mistake, moments=["before_write"])
    try:
        await run(campaign, participants)
    except AssertionError as seen:
        return str(seen)
    return ""
