"""Mistakes that have cost others their data, made here on purpose: the suite must see each one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """A change to one file, and the tests that must see it."""

    name: str
    file: str
    old: str
    new: str
    tests: str
    """File names, and after a colon a part of their names."""


MUTANTS = [
    Mutant(
        "acknowledge before fsync",
        "log.py",
        """                self._writer.write(batch)
                loop.call_soon_threadsafe(self._settle, batch)
""",
        """                loop.call_soon_threadsafe(self._settle, batch)
                self._writer.write(batch)
""",
        "test_faults.py test_power_loss.py",
    ),
    Mutant(
        "no fsync at all",
        "writer.py",
        """        with poisoning("fdatasync", segment.path):
            file.sync()
""",
        "",
        "test_power_loss.py",
    ),
    Mutant(
        "no directory fsync",
        "whole_files.py",
        """    files.rename(unfinished, path)
    files.sync_directory(path.parent)
""",
        """    files.rename(unfinished, path)
""",
        "test_power_loss.py",
    ),
    Mutant(
        "a new file takes its name before it is synced",
        "whole_files.py",
        """        file.write(0, data)
        file.sync()
""",
        """        file.write(0, data)
""",
        "test_power_loss.py",
    ),
    Mutant(
        "epoch left out of the checksum",
        "frame.py",
        "return zlib.crc32(epoch.bytes + first_seq",
        "return zlib.crc32(first_seq",
        "test_spares.py: another_log",
    ),
    Mutant(
        "segment left out of the checksum",
        "frame.py",
        'return zlib.crc32(epoch.bytes + first_seq.to_bytes(8, "little"))',
        "del first_seq\n    return zlib.crc32(epoch.bytes)",
        "test_frame.py",
    ),
    Mutant(
        "a failed fsync tried again",
        "writer.py",
        """            file.sync()
        self._has_unsealed = True
""",
        """            try:
                file.sync()
            except OSError:
                file.sync()
        self._has_unsealed = True
""",
        "test_faults.py",
    ),
    Mutant(
        "append after a torn tail without cutting it",
        "survey.py",
        "return is_proven and self.size_bytes <= self.end_bytes",
        "return is_proven or self.size_bytes > self.end_bytes",
        "test_damage.py: cut_at_any",
    ),
    Mutant(
        "trust what was read after a failed fsync",
        "survey.py",
        "is_proven = not self.frames or self.frames[-1].is_seal",
        "is_proven = True",
        "test_faults.py",
    ),
    Mutant(
        "keep half an append",
        "survey.py",
        "return proven + list(_whole_appends(self.frames[len(proven) :]))",
        "return self.frames",
        "test_damage.py: last_commit or cut_at_any",
    ),
    Mutant(
        "stop at the first damaged record",
        "frame.py",
        "        at = data.find(MARK, at + 1)\n",
        "        return\n",
        "test_damage.py: spoilt_block",
    ),
    Mutant(
        "look for the next sound record at any cost",
        "frame.py",
        "            in_vain_bytes += frame.size_bytes\n",
        "",
        "test_frame.py: looking_for",
    ),
    Mutant(
        "believe any number that passes its checksum",
        "frame.py",
        " or its_seq >= seq + SEQ_JUMP_MAX",
        "",
        "test_forged.py",
    ),
    Mutant(
        "drop a commit with a damaged record, although the next one proves it",
        "frame.py",
        "return self.seq - self.position - 1 if self.is_record else self.seq",
        "return 0 if self.is_record else self.seq",
        "test_damage.py: last_commit",
    ),
    Mutant(
        "begin the next segment before the last one is sealed and synced",
        "writer.py",
        """        self.close()
        self.begin_at""",
        """        self.abandon()
        self.begin_at""",
        "test_log.py: long_log",
    ),
    Mutant(
        "forget the number of a last record that is damaged",
        "segment.py",
        "        self.last_seq, self.chain, self.end_bytes = frame.seq,",
        "        _, self.chain, self.end_bytes = frame.seq,",
        "test_damage.py: spoilt_block or cut_at",
    ),
    Mutant(
        "take a damaged version for a newer one",
        "segment.py",
        "if magic != MAGIC or zlib.crc32(MAGIC + _version(version)) != preamble_crc:",
        "if magic != MAGIC:\n        del preamble_crc",
        "test_damage.py: flipped_bit_of_a_closed",
    ),
    Mutant(
        "the same number again where everything was lost",
        "recovery.py",
        "origin = Origin(uuid4(), 1)",
        "origin = read_origin(self._files, self._directory) or Origin(uuid4(), 1)",
        "test_damage.py: nothing_survives",
    ),
    Mutant(
        "remove a joined segment before its records are safe in the one before it",
        "retention.py",
        "lost_now)\n        self._files.sync_directory(self._directory)\n",
        "lost_now)\n",
        "test_retention.py",
    ),
    Mutant(
        "remove what is not confirmed",
        "retention.py",
        "return segment if segment is not None and segment.last_seq <= confirmed_seq else None",
        "del confirmed_seq\n        return segment",
        "test_retention.py",
    ),
    Mutant(
        "take a removed record for a lost one",
        "segment.py",
        "            self.record_count += frame.seq - frame.begin_seq + 1\n",
        "            pass\n",
        "test_retention.py",
    ),
    Mutant(
        "set a joined segment aside that a crash left over",
        "recovery.py",
        "return before is not None and before.is_reduced and",
        "return False and",
        "test_retention.py: power_cut",
    ),
    Mutant(
        "show the new name before the new index",
        "retention.py",
        """        with self._guard:  # a reader must see the new name and the new index together
            if aside is not None:
                self._files.rename(old[0].path, aside)
            self._files.rename(unfinished, fresh.path)
""",
        """        if aside is not None:
            self._files.rename(old[0].path, aside)
        self._files.rename(unfinished, fresh.path)
        with self._guard:
""",
        "test_retention.py: old_index",
    ),
    Mutant(
        "take a segment's name away before its new file surely has one",
        "retention.py",
        "sync_directory(self._directory)  # one of both files must have a name",
        "names(self._directory)",
        "test_retention.py: power_cut",
    ),
    Mutant(
        "a spare is written to before its old name is gone",
        "spares.py",
        "self._files.sync_directory(self._directory)  # else its old name may come back",
        "pass",
        "test_spares.py: old_name_is_gone",
    ),
    Mutant(
        "give a spare's name to another file while its own becomes a segment",
        "spares.py",
        "name in self._sizes_bytes or ",
        "",
        "test_spares.py: nobody",
    ),
    Mutant(
        "give a file to the writer while readers are led to it",
        "retention.py",
        "self._files.rename(old[0].path, aside)\n",
        "self._files.rename(old[0].path, aside)\n                self._keep(aside)\n",
        "test_spares.py: led_to_it",
    ),
    Mutant(
        "name a recycled segment before its header is durable",
        "spares.py",
        "            file.sync()\n",
        "            pass\n",
        "test_spares.py: durable_header",
    ),
    Mutant(
        "recycle a file whose numbers are given again",
        "spares.py",
        "number <= last_seq and ",
        "",
        "test_spares.py: given_again",
    ),
    Mutant(
        "take what a recycled file held before for a torn write",
        "survey.py",
        "    if not _ends_with_older_seal(data, first_seq):\n        return size_bytes\n",
        "    return size_bytes\n",
        "test_spares.py: that_died",
    ),
    Mutant(
        "give numbers again that an unreadable end may have held",
        "recovery.py",
        "or not segments or self._begin_anew(epoch, segments)",
        "or True",
        "test_recovery.py: end_in_which",
    ),
    Mutant(
        "write into a segment whose name may be on no device",
        "recovery.py",
        "sync_directory(self._directory)  # what we see need not be on the device",
        "names(self._directory)",
        "test_faults.py: failed_fsync",
    ),
    Mutant(
        "read on in a file that retention has replaced",
        "reader.py",
        "return records if self._is_current(segment) else None",
        "return records",
        "test_retention.py",
    ),
    Mutant(
        "take a full card's reserve for a command that can wait",
        "log.py",
        "self._essential.isdisjoint(e.data_class for e in entries)",
        "(not entries)",
        "test_reserve.py",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_suite_sees(mutant: Mutant, tmp_path: Path) -> None:
    for name in ("teddy_edge", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "teddy_edge" / "eventlog" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, "the code that this mutant changes has moved"
    path.write_text(text.replace(mutant.old, mutant.new))
    names, _, part = mutant.tests.partition(":")
    tests = [f"tests/eventlog/{name}" for name in names.split()]
    command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "-k", part, *tests]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 1, f"{mutant.name} was not seen:\n{result.stdout[-2000:]}"
    assert " failed" in result.stdout
