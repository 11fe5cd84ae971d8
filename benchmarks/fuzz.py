"""Fuzz the log's decoders: `make fuzz`, or python -m benchmarks.fuzz --cases 1000000 --seed 7.

Every case has a number; a failure names it, and `--first N --cases 1` runs it again.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from random import Random

from benchmarks.progress import Progress
from tests.eventlog.fuzzing import (
    arbitrary,
    decode_all,
    mutated,
    mutated_log,
    open_and_look,
    real_log,
)

LOG_EVERY = 50
"""One case in so many is a whole log, which is opened; the others are bytes, which are decoded."""


def run_case(number: int, seed: int, log: dict[str, bytes]) -> None:
    random = Random(f"{seed}/{number}")
    if number % LOG_EVERY == 0:
        open_and_look(mutated_log(log, random))
    elif number % 2:
        decode_all(arbitrary(random))
    else:
        decode_all(mutated(random.choice(list(log.values())), random))


def run(first: int, count: int, seed: int) -> None:
    """Run cases one after the other; says which one failed."""
    # Always the same log, so that a case's number is enough to run it again.
    log, progress, begin_s = real_log(), Progress(), time.monotonic()
    for number in range(first, first + count):
        try:
            run_case(number, seed, log)
        except BaseException:
            progress.clear()
            print(f"case {number} of seed {seed}", file=sys.stderr)
            raise
        done = number - first + 1
        rate = done / (time.monotonic() - begin_s)
        progress.show(f"{done:,} of {count:,} cases, {rate:,.0f}/s")
    progress.clear()


def main() -> None:
    """Run them, and say what it took."""
    parser = argparse.ArgumentParser(description="Fuzz the log's decoders.")
    parser.add_argument("--cases", type=int, default=2_000_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    begin_s = time.monotonic()
    run(given.first, given.cases, given.seed)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took_s = time.monotonic() - begin_s
    print(f"{given.cases:,} cases in {took_s:.0f} s, {peak_mib:.0f} MiB at most: no failure")


if __name__ == "__main__":
    main()
