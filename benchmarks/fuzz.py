"""Fuzz the log's decoders: `make fuzz`, or python -m benchmarks.fuzz --cases 1000000 --seed 7.

Every case has a number; a failure names it, and `--first N --cases 1` runs it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random

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
PROGRESS_EVERY_S = 5.0


def run_case(number: int, seed: int, log: dict[str, bytes]) -> None:
    random = Random(f"{seed}/{number}")
    if number % LOG_EVERY == 0:
        open_and_look(mutated_log(log, random))
    elif number % 2:
        decode_all(arbitrary(random))
    else:
        decode_all(mutated(random.choice(list(log.values())), random))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the log's decoders.")
    parser.add_argument("--cases", type=int, default=2_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # Always the same log, so that a case's number is enough to run it again.
    log = real_log()
    started = shown = time.monotonic()
    for number in range(arguments.first, arguments.first + arguments.cases):
        try:
            run_case(number, arguments.seed, log)
        except BaseException:
            print(f"case {number} of seed {arguments.seed}", file=sys.stderr)
            raise
        if time.monotonic() - shown >= PROGRESS_EVERY_S:
            shown = time.monotonic()
            done = number - arguments.first + 1
            rate = done / (shown - started)
            print(f"{done:,} of {arguments.cases:,} cases, {rate:,.0f}/s", flush=True)
    print(f"{arguments.cases:,} cases in {time.monotonic() - started:.0f} s: no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
