"""Which changes are made to a room's code: those of Cosmic Ray that can run, and two of kitty's own.

Cosmic Ray replaces every operator by every other one. Most of these cannot run (two sets have no `a ** b`), are killed by any test at all,
and would only raise the score; so one or two are taken that can. It leaves out no call, no element of a table and no condition of a query,
and much of these rooms consists of such: those are the own ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.work_item import MutationSpec

_KEPT = re.compile(
    r"core/(?!Replace(Binary|Comparison)Operator)"
    r"|core/ReplaceBinaryOperator_(Add_Sub|Sub_Add|Sub_BitOr|Mul_FloorDiv|FloorDiv_Mul|BitOr_BitAnd|BitAnd_BitOr|LShift_RShift)\Z"
    r"|core/ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Is_IsNot|IsNot_Is)\Z"
    r"|kitty/"
)


class LeaveOutCall(Operator):  # type: ignore[misc]
    """A statement that only calls something does nothing."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
            last = node.children[0].children[-1]
            if last.type == "trailer" and last.children[0].value == "(":
                yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[0] = parso.parse(_before(node.children[0]) + "pass")
        return node

    @classmethod
    def examples(cls) -> Any:
        return ()


class LeaveOutPart(Operator):  # type: ignore[misc]
    """A literal lacks one of its elements, or a query one of its conditions."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        parts = _parts(node)
        if len(parts) > 1:
            yield from ((part[0].start_pos, part[-1].end_pos) for part in parts)

    def mutate(self, node: Any, index: int) -> Any:
        parts = _parts(node)
        del parts[index]
        text = ",".join("".join(one.get_code() for one in part) for part in parts)
        return parso.parse(text + ("," if node.type == "testlist_comp" else ""))

    @classmethod
    def examples(cls) -> Any:
        return ()


def _before(node: Any) -> str:
    prefix: str = node.get_first_leaf().prefix
    return prefix


def _parts(node: Any) -> list[list[Any]]:
    """What stands between the commas of a literal or of a query's conditions."""
    if node.type == "arglist":
        called = node.parent.get_previous_sibling()
        if called is None or called.get_code().strip() != ".where":
            return []
    elif node.type not in ("testlist_comp", "dictorsetmaker") or node.children[-1].type in (
        "sync_comp_for",
        "comp_for",
    ):
        return []
    parts: list[list[Any]] = [[]]
    for child in node.children:
        if child.type == "operator" and child.value == ",":
            parts.append([])
        else:
            parts[-1].append(child)
    return [part for part in parts if part]


class _Own(dict[str, type[Operator]]):
    def __init__(self) -> None:
        super().__init__({one.__name__: one for one in (LeaveOutCall, LeaveOutPart)})


cosmic_ray.plugins.OPERATOR_PROVIDERS["kitty"] = _Own()


def changes_something(change: MutationSpec) -> bool:
    """Whether what runs is different, and can be compiled: annotations are not run, and a bare `*` is no product."""
    if not _KEPT.match(change.operator_name):
        return False
    code = Path(change.module_path).read_text(encoding="utf-8")
    operator = cosmic_ray.plugins.get_operator(change.operator_name)(**change.operator_args)
    try:
        return _what_runs(mutate_code(code, operator, change.occurrence)) != _what_runs(code)
    except SyntaxError:
        return False


def _what_runs(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.test = ast.Constant(None)
    return ast.dump(tree)
