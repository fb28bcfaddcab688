"""What may be called what: variables, jobs, labels, and paths inside an attempt's folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from p3s.engine.units import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONTROL",
    "MAX_HOST",
    "MAX_LABEL",
    "MAX_NAME",
    "MAX_VERSION",
    "check_checksum",
    "check_env_name",
    "check_extension",
    "check_host",
    "check_label",
    "check_name",
    "check_variable",
    "make_extension",
    "quote_name",
    "sanitise_value",
    "split_origin",
]

#: Characters of the name of a workflow, a job or a pilot, and of a key. Columns are as wide, and bodies admit no more.
MAX_NAME = 200
#: Of an owner, a site, a jobtype, a datatype, a service or a checksum.
MAX_LABEL = 100
#: Of a host's name.
MAX_HOST = 255
#: Of a pilot's version.
MAX_VERSION = 40

_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}", re.ASCII)
_EXTENSION = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9_.+-]{0,98}", re.ASCII)
_CHECKSUM = re.compile(r"adler32:[0-9a-f]{8}|sha256:[0-9a-f]{64}", re.ASCII)
#: What neither terminals nor logs should get.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNFIT = re.compile(r"[^A-Za-z0-9_.:-]+", re.ASCII)

#: Variables that decide how a program starts: a dataset of this name would change what the payload does.
_RESERVED = frozenset({"PATH", "HOME", "IFS", "ENV", "SHELL", "TMPDIR"})
#: Variables that bash sets itself, whatever the environment says.
_BASH_OWN = frozenset(
    {"DIRSTACK", "EUID", "FUNCNAME", "GROUPS", "LINENO", "OLDPWD", "PPID", "PWD", "RANDOM", "SECONDS"}
    | {"SHELLOPTS", "SHLVL", "SRANDOM", "UID"}
)
#: Variables that p3s gives each payload.
_OWN = frozenset({"P3S_ATTEMPT", "P3S_JOB_UUID", "P3S_MANIFEST", "P3S_PILOT_UUID", "P3S_WORKFLOW_UUID"})
_RESERVED_STARTS = ("P3S_", "LD_", "BASH", "PYTHON")


def check_variable(name: str) -> str:
    """Return why `name` cannot be a dataset, parameter or axis, or nothing.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    str
        The end of a sentence; empty if the name is fine.

    Examples
    --------
    >>> check_variable("hits"), check_variable("PATH")
    ('', 'is reserved: it would change how programs start')
    """
    if not _VARIABLE.fullmatch(name):
        return "is no variable name: a letter, then letters, digits and '_'"
    if name.endswith("_list"):
        return "is reserved: names that end in '_list' are those of collections"
    if name in _RESERVED or name.startswith(_RESERVED_STARTS):
        return "is reserved: it would change how programs start"
    if name in _BASH_OWN:
        return "is reserved: the shell sets it itself"
    return ""


def check_env_name(name: str) -> str:
    """Return why `name` cannot be a variable in ``env``, or nothing.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    str
        The end of a sentence; empty if the name is fine.

    Examples
    --------
    >>> check_env_name("P3S_INPUT_FILE"), check_env_name("P3S_MANIFEST")
    ('', 'is reserved: p3s sets it itself')
    """
    if not _ENV.fullmatch(name):
        return "is no variable name: a letter or '_', then letters, digits and '_'"
    return "is reserved: p3s sets it itself" if name in _OWN else ""


def check_name(name: str) -> str:
    """Return why `name` cannot be a job or a DAG, or nothing.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    str
        The end of a sentence; empty if the name is fine.

    Examples
    --------
    >>> check_name("track-u"), check_name("-x")
    ('', "is no name: a letter or digit, then letters, digits and '_.:-', at most 200")
    """
    if _NAME.fullmatch(name):
        return ""
    return "is no name: a letter or digit, then letters, digits and '_.:-', at most 200"


def check_label(label: str) -> str:
    """Return why `label` cannot be a jobtype, a datatype or a pilot's label, or nothing.

    Parameters
    ----------
    label : str
        The label.

    Returns
    -------
    str
        The end of a sentence; empty if the label is fine.

    Examples
    --------
    >>> check_label("CSV"), check_label("a b")
    ('', "is no label: a letter or digit, then letters, digits and '_.:+-', at most 100")
    """
    if _LABEL.fullmatch(label):
        return ""
    return "is no label: a letter or digit, then letters, digits and '_.:+-', at most 100"


def check_host(name: str) -> str:
    r"""Return why `name` cannot be a host, or nothing.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    str
        The end of a sentence; empty if the name is fine.

    Examples
    --------
    >>> check_host("wn07.example.org"), check_host("a\nb")
    ('', 'is no host: at most 255 characters, and no control characters')
    """
    if name.strip() and len(name) <= MAX_HOST and not CONTROL.search(name):
        return ""
    return f"is no host: at most {MAX_HOST} characters, and no control characters"


def check_checksum(text: str) -> str:
    """Return why `text` cannot be a checksum, or nothing.

    Parameters
    ----------
    text : str
        The checksum.

    Returns
    -------
    str
        The end of a sentence; empty if the checksum is fine.

    Examples
    --------
    >>> check_checksum("adler32:00000001"), check_checksum("1")
    ('', 'is no checksum: adler32: and 8 hexadecimal digits, or sha256: and 64, in small letters')
    """
    if _CHECKSUM.fullmatch(text):
        return ""
    return "is no checksum: adler32: and 8 hexadecimal digits, or sha256: and 64, in small letters"


def check_extension(text: str) -> str:
    """Return why `text` cannot be a datatype's extension, or nothing.

    Parameters
    ----------
    text : str
        The extension.

    Returns
    -------
    str
        The end of a sentence; empty if the extension is fine.

    Examples
    --------
    >>> check_extension(".tar.gz"), check_extension("txt")
    ('', "is no extension: a dot, then a letter or digit, then letters, digits and '_.+-', at most 100")
    """
    if _EXTENSION.fullmatch(text):
        return ""
    return "is no extension: a dot, then a letter or digit, then letters, digits and '_.+-', at most 100"


def make_extension(datatype: str, extensions: Mapping[str, str]) -> str:
    """Return the extension of files of a datatype.

    Parameters
    ----------
    datatype : str
        The datatype, empty for none.
    extensions : mapping of str to str
        Those of registered datatypes.

    Returns
    -------
    str
        The registered one; else the datatype itself in small letters.

    Examples
    --------
    >>> make_extension("H5", {"H5": ".hdf5"}), make_extension("CSV", {}), make_extension("", {})
    ('.hdf5', '.csv', '')
    """
    return extensions.get(datatype, f".{datatype.lower()}" if datatype else "")


def sanitise_value(value: str) -> str:
    """Return an axis value as a part of a job's name.

    Parameters
    ----------
    value : str
        Any text.

    Returns
    -------
    str
        The text with what no name may hold as ``_``; two values may give the same.

    Examples
    --------
    >>> sanitise_value("run 5/a")
    'run_5_a'
    """
    return _UNFIT.sub("_", value) or "_"


def split_origin(text: str) -> tuple[str, str, str]:
    """Return owner, DAG and dataset of what another DAG makes; the owner is empty where none is named.

    Parameters
    ----------
    text : str
        ``DAG/DATASET`` or ``OWNER/DAG/DATASET``.

    Examples
    --------
    >>> split_origin("pedestal/ped"), split_origin("ana/pedestal/ped"), split_origin("pedestal")
    (('', 'pedestal', 'ped'), ('ana', 'pedestal', 'ped'), ('', '', 'pedestal'))
    """
    head, _, key = text.rpartition("/")
    owner, _, dag = head.rpartition("/")
    return owner, dag, key


def quote_name(name: str) -> str:
    """Return a name between quotes, cut if long.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        For messages.

    Examples
    --------
    >>> quote_name("hits")
    "'hits'"
    """
    return f"'{shorten(name)}'"
