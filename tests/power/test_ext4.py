"""Power cuts on a real ext4: what was acknowledged is there, whatever the device still held back.

The disk's writes are recorded under a process at load. Then, for many moments, the disk is made as
a power cut would leave it, mounted, and the log on it is opened.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.eventlog.test_mutants import MUTANTS, ROOT, Mutant

POWER_CUTS = int(os.environ.get("POWER_CUTS", "30"))
CUTS_OF_A_RECORDING = 250
RECORDINGS = -(-POWER_CUTS // CUTS_OF_A_RECORDING)
CUTS_OF_A_MUTANT = 200
"""Far more than any of them survives."""
SEEN = {"acknowledge before fsync", "no fsync at all", "no directory fsync"}

PROGRAMS = ("setpriv", "unshare", "mount", "umount", "mkfs.ext4", "e2fsck")
NAMESPACES = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
)  # fmt: skip
"""What is mounted and started within is gone when this process is, or the program it runs."""
TRY_TO_MOUNT = """
    set -e
    mount -t tmpfs tmpfs "$0"
    truncate --size 4M "$0/image"
    mkfs.ext4 -q -F "$0/image"
    mkdir "$0/mounted"
    mount -o loop "$0/image" "$0/mounted"
"""


@cache
def why_not() -> str | None:
    """Say why no disk can be recorded here; None if it can."""
    if os.geteuid() != 0:
        return "only root may mount a disk"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"no FUSE here: {error}"
    command = [*NAMESPACES, "sh", "-c", TRY_TO_MOUNT, gettempdir()]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no disk may be mounted here: {tried.stderr}"


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def campaign(
    directory: Path, cuts: int, *options: str, source: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run one, on the source that is in a directory."""
    command = [
        *NAMESPACES, sys.executable, "-m", "tests.power.campaign", str(directory),
        "--cuts", str(cuts), *options,
    ]  # fmt: skip
    timeout_s = 120 + 2 * cuts
    return subprocess.run(
        command, cwd=source, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.mark.parametrize("seed", range(1, RECORDINGS + 1))
def test_no_power_cut_loses_what_was_acknowledged(seed: int, tmp_path: Path) -> None:
    result = campaign(tmp_path, min(POWER_CUTS, CUTS_OF_A_RECORDING), "--seed", str(seed))
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.name in SEEN],
    ids=lambda mutant: mutant.name.replace(" ", "-"),
)
def test_a_power_cut_shows(mutant: Mutant, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("teddy_edge", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "teddy_edge" / "eventlog" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, "the code that this mutant changes has moved"
    path.write_text(text.replace(mutant.old, mutant.new))
    result = campaign(tmp_path, CUTS_OF_A_MUTANT, "--killed", "0", source=source)
    assert result.returncode == 1, f"{mutant.name} was not seen:\n{result.stdout}"
    failure, moment = result.stderr.splitlines()[-2:]
    print(f"{failure}\n{moment}")
    assert moment.startswith("after "), "it was seen before the power was cut"
