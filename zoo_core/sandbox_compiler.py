"""How templates of the sandbox are compiled: what joins texts and makes lists is measured, what the assistant says is marked.

Knows nothing of limits; it puts calls of the environment's `measured` and `measured_concat` into the compiled code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2.parser import Parser


class MeasuringGenerator(CodeGenerator):
    """Compiles what joins texts and what makes lists and mappings so that the results are measured."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.measured_concat((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if isinstance(node.node, nodes.EnvironmentAttribute):  # a counting step: in every pass, so as cheap as can be
            self.write(f"environment.{node.node.name}()")
            return
        super().visit_Call(node, frame, forward_caller=forward_caller)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(")
        self._visit_measured(node.expr, frame)
        for each in node.ops:
            self.visit(each, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {operators[node.op]} ")
        self._visit_measured(node.expr, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.measured(")
        super().visit_Getitem(node, frame)
        self.write(")")

    def _visit_measured(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
            return
        self.write("environment.measured(")
        self.visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.measured(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "store":  # the names that a loop or an assignment unpacks into
            super().visit_Tuple(node, frame)
            return
        self.write("environment.measured(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.measured(")
        super().visit_Dict(node, frame)
        self.write(")")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`: marks what the assistant says, as in transformers' chat templates."""

    tags = {"generation"}  # noqa: RUF012 (Jinja reads it from the class)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        mark = getattr(self.environment, "mark", "")
        return f"<{mark}>{caller()}</{mark}>"
