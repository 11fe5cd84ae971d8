"""The house style that a program can see. The numbers may go down, never up."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import Module

FUNCTION_LINES_MAX = 50
FUNCTION_LINES_MEDIAN_BELOW = 10
MODULE_LINES_MAX = 320

FLUSHES = frozenset({"os.fsync", "os.fdatasync", "os.sync"})
WALL_CLOCKS = frozenset({
    "time.time", "time.time_ns", "time.gmtime", "time.localtime",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
})  # fmt: skip
CONTAINERS = frozenset({
    "list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict", "Queue",
    "Event", "Lock", "count",
})  # fmt: skip
CHANGES = frozenset({
    "append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove",
    "discard", "clear",
})  # fmt: skip


def long_function(module: Module) -> Iterator[str]:
    """Yield functions that do not fit on a screen."""
    for function in module.functions:
        lines = function_lines(function)
        if lines > FUNCTION_LINES_MAX:
            yield f"{module.at(function)} {function.name} has {lines} lines"


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count from `def` to the last line, with the docstring."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def long_module(module: Module) -> Iterator[str]:
    """Yield modules with more than one reason to change, most likely."""
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"{module.name} has {lines} lines"


def broad_except(module: Module) -> Iterator[str]:
    """Yield handlers that would swallow a defect."""
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            names = set() if node.type is None else _names(node.type)
            if node.type is None or names & {"Exception", "BaseException"}:
                yield module.at(node)


def flush_outside_the_log(module: Module) -> Iterator[str]:
    """Yield calls that make bytes durable where nobody proves it."""
    if module.name != "eventlog.files":
        yield from _uses(module, FLUSHES)


def wall_clock(module: Module) -> Iterator[str]:
    """Yield readings of the wall clock that no test can set."""
    if module.name != "clock":
        yield from _uses(module, WALL_CLOCKS)


def swallowed_cancellation(module: Module) -> Iterator[str]:
    """Yield uses of what swallows a cancellation on Python 3.11; `asyncio.timeout` does not."""
    yield from _uses(module, frozenset({"asyncio.wait_for"}))


def global_statement(module: Module) -> Iterator[str]:
    """Yield functions that rebind a module's name."""
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield f"{module.at(node)} {', '.join(node.names)}"


def shared_container(module: Module) -> Iterator[str]:
    """Yield module-level containers, unless they are constants that no function changes."""
    changed = {name for node in module.nodes for name in _changed(node)}
    for name, node in _containers(module.tree):
        if not name.strip("_").isupper() and name != "__all__":
            yield f"{module.at(node)} {name} is not a constant"
        elif name in changed:
            yield f"{module.at(node)} {name} is changed in the module"


def _containers(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_container(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


def _is_container(value: ast.expr | None) -> bool:
    literals = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    if isinstance(value, ast.Call):
        return _dotted(value.func).rpartition(".")[2] in CONTAINERS
    return isinstance(value, literals)


def _changed(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield _dotted(node.value)
    elif isinstance(node, ast.Call) and _changes(node.func):
        yield _dotted(node.func).rpartition(".")[0]


def _changes(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in CHANGES


def _uses(module: Module, forbidden: frozenset[str]) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if any(dotted == name or dotted.endswith(f".{name}") for name in forbidden):
                yield f"{module.at(node)} {dotted}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in forbidden:
                    yield f"{module.at(node)} {node.module}.{alias.name}"


def _names(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def _dotted(expression: ast.expr) -> str:
    if isinstance(expression, ast.Attribute):
        return f"{_dotted(expression.value)}.{expression.attr}"
    return expression.id if isinstance(expression, ast.Name) else ""
