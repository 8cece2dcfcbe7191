"""Evaluates the formulas that a set-up gives as text, such as `1.0 * linspace(-1,1,12)[j % 12]`,
without `eval`."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Value = Any  # a number, a boolean or an array of them

OPERATORS: dict[type, Callable[..., Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _linspace(start: float, stop: float, count: float) -> Value:
    return np.linspace(start, stop, int(count))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{
        name: getattr(np, name)
        for name in (
            "sin",
            "cos",
            "tan",
            "tanh",
            "exp",
            "log",
            "sqrt",
            "abs",
            "sign",
            "floor",
        )
    },
    **{
        "minimum": np.minimum,
        "maximum": np.maximum,
        "linspace": _linspace,
        "frac": lambda v: v - np.floor(v),
    },
}
CONSTANTS = {"pi": np.pi, "e": np.e}


def evaluate(text: str, **names: Value) -> Value:
    """The value of an arithmetic expression over the given names; anything but arithmetic is
    refused."""
    return _value(ast.parse(text.strip(), mode="eval").body, {**CONSTANTS, **names})


def right_hand_side(text: str) -> tuple[str, str]:
    """Splits `W[i,j] = 0.5 * sin(i)` into its two sides; a formula without a left side has an empty
    one."""
    match = re.match(
        r"\s*([A-Za-z_]\w*(?:\[[^\]]*\])?)\s*=(?!=)\s*(.*)", text, re.DOTALL
    )
    return (match.group(1), match.group(2)) if match else ("", text)


def _value(node: ast.expr, names: Mapping[str, Value]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            result: Value = number
        case ast.Name(id=name) if name in names:
            result = names[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            result = OPERATORS[type(op)](_value(operand, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            result = OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if (
            type(op) in OPERATORS
        ):
            result = OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Subscript(value=array, slice=index):
            result = np.asarray(_value(array, names))[_value(index, names)]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in FUNCTIONS
        ):
            result = FUNCTIONS[name](
                *(_value(argument, names) for argument in arguments)
            )
        case _:
            raise ValueError(f"not an arithmetic formula: {ast.unparse(node)}")
    return result
