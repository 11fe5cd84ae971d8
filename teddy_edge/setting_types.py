"""What a single setting may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

BearId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ButtonName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
MiddlewareName = Literal[
    "metrics", "logging", "validation", "security", "rate_limit", "dedupe", "deadline"
]
Host = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9_:%-]{1,63}\.)*[A-Za-z0-9_:%-]{1,63}\.?$",
        max_length=253,
        description=(
            "a host name or an address: parts of 1 to 63 letters, digits or -, "
            "with one dot between them"
        ),
    ),
]
GpioPin = Annotated[int, Field(ge=0, le=27)]
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""Made absolute at once: the pin library may change the directory of the process later."""
