"""The details of a violation: any JSON that a record can hold, kept as it was given."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, SkipValidation

DETAILS_BYTES_MAX = 4000
"""Bytes in a record, where a number counts 9 and whatever else has a length 5 more than that."""
DEPTH_MAX = 16


def _checked(details: object) -> object:
    if _size_bytes(details, DEPTH_MAX) > DETAILS_BYTES_MAX:
        raise ValueError(f"should have at most {DETAILS_BYTES_MAX} bytes")
    return details


def _size_bytes(value: object, depth: int) -> int:
    if isinstance(value, str):
        return 5 + len(_encoded(value))
    if isinstance(value, list | dict):
        return 5 + _size_of_parts(value, depth - 1)
    if value is None or isinstance(value, bool | int | float):
        return _size_of_number(value)
    raise ValueError("should be JSON: text, numbers, lists, maps")


def _size_of_parts(value: list[object] | dict[object, object], depth: int) -> int:
    if depth == 0:
        raise ValueError(f"should be nested at most {DEPTH_MAX} deep")
    if isinstance(value, list):
        return sum(_size_bytes(part, depth) for part in value)
    if not all(isinstance(key, str) for key in value):
        raise ValueError("should have text for keys")
    return sum(_size_bytes(part, depth) for pair in value.items() for part in pair)


def _size_of_number(value: float | None) -> int:
    is_float = isinstance(value, float)
    if value is not None and not (math.isfinite(value) if is_float else abs(value) < 2**63):
        raise ValueError("should have numbers of at most 64 bits")
    return 9


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("should have text that is Unicode") from error


Details = Annotated[SkipValidation[Any], BeforeValidator(_checked)]
