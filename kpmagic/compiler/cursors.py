# SPDX-License-Identifier: MIT
"""What a node of clang's tree is, as far as a handler's body is concerned."""

from __future__ import annotations

from clang.cindex import Cursor, CursorKind, TypeKind

SCAFFOLD_LINES = 2  # what stands before the user's text; see kpmagic/cell/marked.py
_LITERALS = (CursorKind.INTEGER_LITERAL, CursorKind.CHARACTER_LITERAL, CursorKind.CXX_UNARY_EXPR)
_CONSTANT = (CursorKind.UNARY_OPERATOR, CursorKind.BINARY_OPERATOR, CursorKind.CSTYLE_CAST_EXPR)


def peel(node: Cursor) -> Cursor:
    """Return the expression under implicit casts and parentheses."""
    while node.kind in (CursorKind.UNEXPOSED_EXPR, CursorKind.PAREN_EXPR):
        children = list(node.get_children())
        if len(children) != 1:
            break
        node = children[0]
    return node


def is_literal(node: Cursor) -> bool:
    """Whether an expression is made of numbers alone: where C wants a constant it stays one."""
    node = peel(node)
    if node.kind == CursorKind.DECL_REF_EXPR:
        return bool(node.referenced.kind == CursorKind.ENUM_CONSTANT_DECL)
    if node.kind in _LITERALS:
        return True
    children = [each for each in node.get_children() if each.kind != CursorKind.TYPE_REF]
    return node.kind in _CONSTANT and all(map(is_literal, children))


def is_of_context(node: Cursor) -> bool:
    """Whether this is a member of the builtin ``regs``, at any depth."""
    node = peel(node)
    while node.kind == CursorKind.MEMBER_REF_EXPR:
        node = peel(next(iter(node.get_children())))
        if is_context(node):
            return True
    return False


def is_pointer(callee: Cursor) -> bool:
    """Whether a pointer is called, and no function: a helper of kpmagic.bpf.h counts as one."""
    if callee.kind != CursorKind.DECL_REF_EXPR:
        return True
    declared = callee.referenced
    variable = declared.kind in (CursorKind.VAR_DECL, CursorKind.PARM_DECL)
    return variable and declared.semantic_parent.kind != CursorKind.TRANSLATION_UNIT


def is_own(node: Cursor) -> bool:
    """Whether this is a variable of the body's, or a part of one."""
    while node.kind in (CursorKind.MEMBER_REF_EXPR, CursorKind.ARRAY_SUBSCRIPT_EXPR):
        node = peel(next(iter(node.get_children())))
        if node.type.get_canonical().kind == TypeKind.POINTER:
            return False
    if node.kind != CursorKind.DECL_REF_EXPR:
        return False
    return bool(node.referenced.semantic_parent.kind != CursorKind.TRANSLATION_UNIT)


def is_bitfield(node: Cursor) -> bool:
    """Whether this is a bit field of a struct."""
    return node.kind == CursorKind.MEMBER_REF_EXPR and bool(node.referenced.is_bitfield())


def is_context(node: Cursor) -> bool:
    """Whether this is the builtin ``regs``: the program's own context, which is loaded directly.

    A parameter or a variable of the user's may have the same name.
    """
    if node.kind != CursorKind.DECL_REF_EXPR or node.spelling != "regs":
        return False
    declaration = node.referenced
    of_the_user = declaration.location.line > SCAFFOLD_LINES
    return declaration.kind == CursorKind.VAR_DECL and not of_the_user
