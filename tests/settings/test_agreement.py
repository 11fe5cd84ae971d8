"""Settings that are each right and cannot stand together are refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from teddy_edge.errors import SettingsError
from teddy_edge.settings import Settings, load_settings
from teddy_edge.settings_agreement import RULES, disagreements

APART = [
    (
        "[broker]\nbackoff_s_min = 5.0\nbackoff_s_max = 2.0",
        "broker.backoff_s_min: got 5.0; accepted: at most broker.backoff_s_max, which is 2: waits",
    ),
    (
        "[broker]\nsession_expiry_s = 60\nbackoff_s_max = 61.0",
        "broker.backoff_s_max: got 61.0; accepted: at most broker.session_expiry_s, which is 60:",
    ),
    (
        "[broker]\npacket_bytes_max = 32768",
        "commands.payload_bytes_max: got 32768; accepted: at most broker.packet_bytes_max less",
    ),
    (
        "[broker]\nheld_bytes_max = 1048576",
        "broker.packet_bytes_max: got 1048576; accepted: at most broker.held_bytes_max less 4096,",
    ),
    (
        "[log]\ncommand_bytes_max = 4194303",
        "log.segment_bytes_max: got 4194304; accepted: at most log.command_bytes_max, which is 4",
    ),
    (
        "[log]\nrecord_bytes_max = 36863",
        "commands.payload_bytes_max: got 32768; accepted: at most log.record_bytes_max less 4096,",
    ),
    (
        "[log]\nbatch_bytes_max = 131072",
        "log.record_bytes_max: got 131072; accepted: at most log.batch_bytes_max less 4096,",
    ),
    (
        "[commands]\npayload_bytes_max = 65536",
        "commands.payload_bytes_max: got 65536; accepted: at most projections.row_bytes_max less",
    ),
    (
        "[buttons.pins]\nbelly = 5\nnose = 6\near = 5",
        "buttons.pins.ear: got 5; accepted: a pin of its own: buttons.pins.belly has this one",
    ),
]


@pytest.mark.parametrize(("text", "expected"), APART)
def test_two_settings_that_do_not_go_together_are_both_named(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "teddy-edge.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_settings(file)
    (problem,) = raised.value.problems
    assert str(problem).startswith(f"{file}: {expected}")


@pytest.mark.parametrize(
    "text",
    [
        "[broker]\nbackoff_s_min = 2.0\nbackoff_s_max = 2.0",
        "[log]\nrecord_bytes_max = 36864",
        "[buttons]\npins = {}",
    ],
)
def test_what_just_goes_together_is_taken(tmp_path: Path, text: str) -> None:
    file = tmp_path / "teddy-edge.toml"
    file.write_text(text)
    load_settings(file)


def test_a_variable_that_does_not_go_with_a_default_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEDDY_EDGE_BROKER__BACKOFF_S_MIN", "60")
    monkeypatch.setenv("TEDDY_EDGE_BROKER__BACKOFF_S_MAX", "59")
    with pytest.raises(
        SettingsError, match="environment variable TEDDY_EDGE_BROKER__BACKOFF_S_MIN"
    ):
        load_settings(None)


def test_a_session_that_ends_with_its_connection_is_refused(tmp_path: Path) -> None:
    """It would undo that a command comes again."""
    file = tmp_path / "teddy-edge.toml"
    file.write_text("[broker]\nsession_expiry_s = 0")
    with pytest.raises(SettingsError, match="from 60 to"):
        load_settings(file)


def test_every_rule_is_seen_to_be_broken() -> None:
    assert len(APART) == len(RULES) + 1
    assert list(disagreements(Settings().model_dump())) == []
