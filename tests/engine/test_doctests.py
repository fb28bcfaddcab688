"""The examples in docstrings are run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import p3s.engine

MODULES = [f"p3s.engine.{module.name}" for module in pkgutil.iter_modules(p3s.engine.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Every example in a module of the engine gives what it says."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_functions_have_examples() -> None:
    """The functions that others call each show an example."""
    for name in ("expand", "graph", "load", "matching", "original", "release", "times"):
        module = importlib.import_module(f"p3s.engine.{name}")
        for public in module.__all__:
            thing = getattr(module, public)
            if callable(thing) and not isinstance(thing, type) and public != "Node":
                assert ">>>" in (thing.__doc__ or ""), f"{name}.{public} has no example"
