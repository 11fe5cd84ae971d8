"""Python source as the rules see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "teddy_edge"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One module: its dotted name within the package ("inputs.gpio") and its text."""

    name: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in it."""
        return list(ast.walk(self.tree))

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    @property
    def stage(self) -> str:
        """The package or the root module that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def functions(self) -> list[Function]:
        """Every function and method."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def imports(self) -> set[str]:
        """Every module it names in an import, wherever the import stands."""
        return {name for node in self.nodes for name in _imported(node)}

    def own_imports(self) -> set[str]:
        """The modules of this package among them, named as `name` is."""
        prefix = f"{PACKAGE}."
        return {name.removeprefix(prefix) for name in self.imports if name.startswith(prefix)}

    def libraries(self) -> set[str]:
        """The top-level names of all that is not ours."""
        return {name.partition(".")[0] for name in self.imports} - {PACKAGE, "__future__"}

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler) -> str:
        """Say where something stands."""
        return f"{self.name}:{node.lineno}"


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where a name comes from"
        assert node.module is not None
        yield from (_module_of(node.module, alias.name) for alias in node.names)


def _module_of(package: str, name: str) -> str:
    inner = ROOT.joinpath(*package.split("."), name)
    is_module = inner.with_suffix(".py").exists() or inner.is_dir()
    return f"{package}.{name}" if is_module else package


def modules() -> list[Module]:
    """All modules of the package."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    return [Module(_name(file), file.read_text(encoding="utf-8")) for file in files]


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"
