"""Paths and published names: what is wrong with one, and its parts."""

from __future__ import annotations

from p3s.engine.names import CONTROL

__all__ = [
    "check_place",
    "check_published",
    "check_relative_path",
    "normalise_path",
    "take_basename",
    "take_stem",
]


def check_relative_path(path: str) -> str:
    """Return why `path` cannot be a file below a folder, or nothing.

    Parameters
    ----------
    path : str
        The path.

    Returns
    -------
    str
        The end of a sentence; empty if the path is fine.

    Examples
    --------
    >>> check_relative_path("a/hits.csv"), check_relative_path("../hits.csv")
    ('', 'must stay below its folder: no ..')
    >>> check_relative_path("./.p3s/run")
    'must not begin with .p3s: there p3s keeps what is its own'
    """
    parts = path.split("/")
    if not normalise_path(path):
        return "names no file"
    if path.startswith("/"):
        return "must be relative: no / in front"
    if ".." in parts:
        return "must stay below its folder: no .."
    if path.endswith("/"):
        return "must name a file: no / at the end"
    if normalise_path(path).split("/")[0] == ".p3s":
        return "must not begin with .p3s: there p3s keeps what is its own"
    if CONTROL.search(path):
        return "holds a control character"
    if len(path.encode("utf-8", "replace")) > 1000 or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return "is too long: at most 255 bytes in a name and 1,000 in all"
    return ""


def check_place(place: str) -> str:
    r"""Return why `place` cannot be a file or URL, or nothing.

    Parameters
    ----------
    place : str
        A path or URL.

    Returns
    -------
    str
        The end of a sentence; empty if the place is fine.

    Examples
    --------
    >>> check_place("/data/a.csv"), check_place("a\nb"), check_place("a\x9b2J")
    ('', 'holds a control character', 'holds a control character')
    """
    if not place.strip():
        return "is empty"
    if CONTROL.search(place):
        return "holds a control character"
    return "is longer than 4,096 characters" if len(place) > 4096 else ""


def check_published(place: str) -> str:
    """Return why `place` cannot be a published name, or nothing.

    Parameters
    ----------
    place : str
        A path; one that ends with a slash is a folder, where the file keeps its own name.

    Returns
    -------
    str
        The end of a sentence; empty if the place is fine.

    Examples
    --------
    >>> check_published("/data/a.csv"), check_published("/data/"), check_published("a.csv")
    ('', '', 'must be an absolute path: pilots on other machines know no other')
    """
    if wrong := check_place(place):
        return wrong
    if not place.startswith("/"):
        return "must be an absolute path: pilots on other machines know no other"
    parts = place.removesuffix("/").split("/")[1:]
    if any(part in {"", ".", ".."} for part in parts):
        return "must have no empty part, . or .. in it"
    return (
        "has a part of more than 255 bytes" if any(len(part.encode("utf-8", "replace")) > 255 for part in parts) else ""
    )


def normalise_path(path: str) -> str:
    """Return a path without ``.`` and doubled slashes; ``..`` and a slash in front stay.

    Parameters
    ----------
    path : str
        The path.

    Returns
    -------
    str
        The same path, shorter.

    Examples
    --------
    >>> normalise_path("./a//b/./c")
    'a/b/c'
    """
    start = "/" if path.startswith("/") else ""
    return start + "/".join(part for part in path.split("/") if part not in {"", "."})


def take_basename(path: str) -> str:
    """Return the last part of a path.

    Parameters
    ----------
    path : str
        A path or URL.

    Returns
    -------
    str
        What stands after the last slash.

    Examples
    --------
    >>> take_basename("data/a.tar.gz"), take_basename("data/")
    ('a.tar.gz', 'data')
    """
    return path.rstrip("/").rpartition("/")[2]


def take_stem(path: str) -> str:
    """Return the last part of a path without its extension.

    Parameters
    ----------
    path : str
        A path or URL.

    Returns
    -------
    str
        The base name up to its last dot, if that is not its first character.

    Examples
    --------
    >>> take_stem("data/a.tar.gz"), take_stem(".hidden")
    ('a.tar', '.hidden')
    """
    name = take_basename(path)
    head, dot, _ = name.rpartition(".")
    return head if dot and head else name
