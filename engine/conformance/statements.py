"""The statements of a source file: which lines belong to one, and which names it writes."""

import ast
import linecache
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Statement:
    """A simple statement, or the head of a compound one.

    Args:
        line: its first line; writes: names it assigns, changes or calls a method of (`x`, `self.x`, `Kind.x`).
        reads: names it mentions.
    """

    line: int
    last_line: int
    writes: frozenset[str]
    reads: frozenset[str]
    function: str


class Source:
    """One file's statements."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.statements: list[Statement] = []
        self._of_line: dict[int, Statement] = {}
        text = "".join(linecache.getlines(file))
        try:
            tree = ast.parse(text)
        except SyntaxError:  # no Python: something made code out of a template
            return
        self._walk(tree, "")
        for statement in self.statements:
            for line in range(statement.line, statement.last_line + 1):
                self._of_line.setdefault(line, statement)

    def _walk(self, node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = child.name
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                last = body[0].lineno - 1 if isinstance(body, list) and body else child.end_lineno or child.lineno
                head: list[ast.AST] = [child] if not isinstance(body, list) else _head(child)
                self.statements.append(
                    Statement(child.lineno, max(last, child.lineno), _writes(head), _mentions(head), inner)
                )
            self._walk(child, inner)

    def at(self, line: int) -> Statement | None:
        """Return the statement that a line belongs to."""
        return self._of_line.get(line)

    def start(self, line: int) -> int:
        """Return the first line of the statement that a line belongs to."""
        statement = self.at(line)
        return statement.line if statement is not None else line

    def shown(self, line: int) -> str:
        """Return "file, line N: text" of the statement at a line."""
        start = self.start(line)
        text = linecache.getline(self.file, start).strip()
        return f"{Path(self.file).name}, line {start}" + (f": {text}" if text else "")


@cache
def source_of(file: str) -> Source:
    """Return a file's statements, parsed once."""
    return Source(file)


def _head(statement: ast.stmt) -> list[ast.AST]:
    parts = [value for name, value in ast.iter_fields(statement) if name in ("test", "iter", "target", "items")]
    return [part for value in parts for part in (value if isinstance(value, list) else [value])]


def _writes(nodes: list[ast.AST]) -> frozenset[str]:
    found: set[str] = set()
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(
                node.ctx, ast.Store | ast.Del
            ):
                found.add(_base_name(node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.add(_base_name(node.func.value))
    return frozenset(found - {""})


def _mentions(nodes: list[ast.AST]) -> frozenset[str]:
    return frozenset(
        _base_name(node) for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name | ast.Attribute)
    )


def _base_name(node: ast.AST) -> str:
    """Return `x` of x[…], `self.x` of self.x[…] and of self.x.y."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _base_name(node.value)
        return f"{owner}.{node.attr}" if owner and "." not in owner else owner
    return ""
