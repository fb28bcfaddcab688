"""Small files that travel with a DAG."""

from __future__ import annotations

from pydantic import Field

from p3s.wire.base import Request

__all__ = ["BundleFile"]


class BundleFile(Request):
    """A small file that travels with the DAG; `path` is relative to the YAML."""

    path: str = Field(min_length=1, max_length=1024)
    data: bytes
    executable: bool = False
