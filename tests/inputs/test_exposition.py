"""What is measured, as Prometheus reads it."""

from __future__ import annotations

import re
from typing import Any

from teddy_edge.inputs.exposition import METRICS, exposition

HEALTH: dict[str, Any] = {
    "command_throughput": 2.5,
    "query_response_time": 1.25,
    "cache_hit_rate": 40.0,
    "error_rate": 0.1,
    "read_model_freshness": 0.02,
    "commands": {"total": 12, "failed": 1},
    "queries": {"total": 8_123_456_789, "failed": 2},
    "cache": {"entries": 3, "hits": 4, "misses": 6, "evictions": 0},
    "log": {"last_seq": 42, "complete": True, "lost": 7, "damaged_places": 1},
    "read_models": {"position": 41},
    "sync": {"replays": 1, "replays_refused": 2, "too_large": 0},
}
LINE = re.compile(
    r"# HELP (?P<name>teddy_edge_[a-z_]+) \S.*\.\n# TYPE (?P=name) (?P<type>counter|gauge)\n"
    r"(?P=name) (?P<value>[0-9.e+-]+)\n"
)


def values(text: str) -> dict[str, float]:
    found = {match["name"]: float(match["value"]) for match in LINE.finditer(text)}
    assert LINE.sub("", text) == ""  # nothing stands between
    return found


def test_every_value_has_its_name_type_and_help() -> None:
    found = values(exposition(HEALTH))
    assert len(found) == len(METRICS)
    assert found["teddy_edge_commands_total"] == 12
    assert found["teddy_edge_queries_total"] == 8_123_456_789
    assert found["teddy_edge_cache_hits_total"] == 4
    assert found["teddy_edge_read_models_position"] == 41
    assert found["teddy_edge_log_complete"] == 1
    assert found["teddy_edge_log_events_lost"] == 7
    assert found["teddy_edge_log_damaged_places"] == 1


def test_a_unit_in_a_name_is_the_units_of_the_value() -> None:
    found = values(exposition(HEALTH))
    assert found["teddy_edge_query_response_seconds"] == 0.00125
    assert found["teddy_edge_read_models_behind_seconds"] == 0.02


def test_counters_and_only_counters_are_called_total() -> None:
    types = {match["name"]: match["type"] for match in LINE.finditer(exposition(HEALTH))}
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())


def test_what_has_no_value_yet_is_left_out() -> None:
    found = values(exposition({**HEALTH, "query_response_time": None}))
    assert len(found) == len(METRICS) - 1
    assert "teddy_edge_query_response_seconds" not in found
