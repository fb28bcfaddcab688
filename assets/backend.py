"""How a wheel is built: by setuptools, after the monitor's assets have been fetched.

An editable install leaves them alone; `make assets` fetches them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import fetch
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

#: Set it to build a wheel where the npm registry cannot be reached: its monitor has neither live pages nor drawings.
WITHOUT = "P3S_WITHOUT_ASSETS"


def get_requires_for_build_wheel(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """Return what must be installed to build: npm, too, where the machine has none."""
    wanted = list(build_meta.get_requires_for_build_wheel(config_settings))
    if not _lacks_assets() or fetch.find_npm() is not None:
        return wanted
    return [*wanted, fetch.NODE]


def build_wheel(
    wheel_directory: str, config_settings: Mapping[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Fetch the assets, then build.

    Raises
    ------
    RuntimeError
        If they cannot be had: a wheel without them is made on demand only.
    """
    if _lacks_assets():
        npm = fetch.find_npm()
        try:
            if npm is None:
                raise fetch.CannotFetch("there is no npm")
            fetch.fetch(npm)
        except fetch.CannotFetch as error:
            raise RuntimeError(
                f"the assets of the monitor's pages cannot be fetched: {error}. "
                f"Set {WITHOUT}=1 to build without them; pages then have neither live updates nor drawings."
            ) from error
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def _lacks_assets() -> bool:
    return not os.environ.get(WITHOUT) and not fetch.is_fetched()
