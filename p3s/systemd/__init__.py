"""Units for systemd: templates in which ``@P3S@`` stands for the program that prints them."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["UNITS", "make_unit"]

#: Programs that have a unit.
UNITS = ("server", "pilot", "injector")


def make_unit(name: str, program: str) -> str:
    """Return the unit of a program.

    Parameters
    ----------
    name : str
        One of `UNITS`.
    program : str
        The absolute path of ``p3s``.

    Examples
    --------
    >>> "ExecStart=/opt/p3s/bin/p3s server start" in make_unit("server", "/opt/p3s/bin/p3s")
    True
    """
    # In a unit a per cent sign begins a specifier.
    return (
        (files(__name__) / f"{name}.service").read_text(encoding="utf-8").replace("@P3S@", program.replace("%", "%%"))
    )
