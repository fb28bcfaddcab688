"""Run the examples in docstrings."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def check_doctests(*modules: ModuleType) -> None:
    """Assert that each module has examples and that they hold."""
    for module in modules:
        result = doctest.testmod(module)
        assert result.attempted > 0, f"{module.__name__} has no examples"
        assert result.failed == 0, f"examples of {module.__name__} fail; they are shown above"
