"""p3s: files arrive, a graph of jobs runs within seconds, results appear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p3s.client import Client

__all__ = ["Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Found on first use, so that `import p3s` stays light.
    if name == "Client":
        from p3s.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module 'p3s' has no attribute '{name}'")
