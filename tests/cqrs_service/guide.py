"""The code of the guide (docs/cqrs-guide.md), with what it leaves out and no more."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "cqrs-guide.md").read_text()
GUIDES_IMPORT = "from src.core.application.cqrs_service import"
OUR_IMPORT = "from teddy_edge.cqrs_service import"
LEFT_OUT = """\
    parent_id="parent-789", device_id="device-456", name="Noah", age=5, udid="device-noah-002"
"""
ENDS_S_MAX = 120


def block(heading: str) -> str:
    """The first Python block below a heading, with our import path."""
    found = re.search(rf"^### {heading}$.*?^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the guide has no {heading}"
    return found[1].replace(GUIDES_IMPORT, OUR_IMPORT)


def typed(code: str) -> str:
    """Make a line of each statement, as a prompt without a terminal reads them."""
    return "".join(f"{_line(statement)}\n\n" for statement in ast.parse(code).body)


def _line(statement: ast.stmt) -> str:
    if not isinstance(statement, ast.If):
        return ast.unparse(statement)
    return f"if {ast.unparse(statement.test)}: " + "; ".join(map(ast.unparse, statement.body))


def program() -> str:
    """Make a program of the guide's usage examples and of its integration test."""
    usage = [block(f"{name}") for name in ("Basic Command Usage", "Basic Query Usage")]
    usage.append(block("Advanced Operations"))
    test = block("Integration Testing").replace("...", LEFT_OUT.strip())
    return "\n".join(
        [
            "import asyncio",
            "from datetime import datetime, timedelta",
            f"{OUR_IMPORT} get_cqrs_service",
            "async def usage():",
            textwrap.indent("\n".join(usage), "    "),
            "    return profile, safety_report, results",
            test,
            "profile, safety_report, results = asyncio.run(usage())",
            "print('Before:', profile.data['age'], profile.data['preferences'])",
            "(child,) = results.data['children']",
            "print('After:', child['age'], child['preferences']['favorite_stories'])",
            "print('Report:', safety_report.data['rating'], safety_report.data['violations'])",
            "asyncio.run(test_cqrs_integration())",
            "print('Integration test: passed')",
        ]
    )


def run(data_directory: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with the library's data in a folder; it must end by itself."""
    environ = {
        **os.environ,
        "TEDDY_EDGE_DATA_DIRECTORY": str(data_directory),
        "TEDDY_EDGE_QUERIES__CATCH_UP_S_MAX": "30",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ENDS_S_MAX,
        check=False,
    )
