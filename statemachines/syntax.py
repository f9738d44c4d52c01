"""Source text to its syntax tree, for the load checks that read a flow's own code."""

import ast

TRIES = 3


def tree_of(source: str) -> ast.Module:
    """Parse a module or a function. Raises SyntaxError.

    Debian 12 has Python 3.11.2. Up to 3.11.4 a parse fails now and then with a SystemError, where
    something else is parsed in its midst, by another thread for one (python/cpython issue 106905).
    It is parsed anew then, since nothing is wrong with the text.
    """
    for _ in range(TRIES - 1):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)
