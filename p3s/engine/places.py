"""Where data is: an absolute path, or a URL; each in the one spelling by which the same data is known again."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

from p3s.engine.paths import check_place, check_published, normalise_path

__all__ = [
    "EXTRAS",
    "STAGED",
    "check_location",
    "check_target",
    "find_staged",
    "is_url",
    "name_site",
    "normalise_place",
]

#: What pilots bring into the sandbox, and out of it, by URL. A pilot declares each that it can as a label of this
#: spelling; anything else that is no path is left to the payload.
STAGED = ("s3://", "root://")
#: The optional parts of p3s that pilots need for them.
EXTRAS = {"s3://": "s3", "root://": "xrootd"}
#: Other names of the same.
_ALIASES = {"xroot": "root", "s3a": "s3"}
_PORTS = {"http": "80", "https": "443", "root": "1094"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_url(place: str) -> bool:
    """Tell whether `place` is a URL rather than a path.

    Parameters
    ----------
    place : str
        Any text.

    Examples
    --------
    >>> is_url("s3://raw/run.h5"), is_url("/data/run.h5"), is_url("a:b")
    (True, False, False)
    """
    return _SCHEME.match(place) is not None


def find_staged(place: str) -> str:
    """Return the label of a pilot that can bring data from or to `place`; empty if any can.

    Parameters
    ----------
    place : str
        In its normal form.

    Examples
    --------
    >>> find_staged("s3://raw/run.h5"), find_staged("/data/run.h5"), find_staged("https://example.org/a")
    ('s3://', '', '')
    """
    return next((scheme for scheme in STAGED if place.startswith(scheme)), "")


def check_location(place: str) -> str:
    """Return why nothing can be at `place`, or nothing.

    Parameters
    ----------
    place : str
        A path or URL.

    Returns
    -------
    str
        The end of a sentence; empty if it is an absolute path or a URL.

    Examples
    --------
    >>> check_location("/data/a.csv"), check_location("s3://raw/a.csv"), check_location("a.csv")
    ('', '', 'is neither an absolute path nor a URL')
    >>> check_location("s3://key:secret@raw/a.csv")
    'holds a password, which everybody would see; leave it to the environment of the pilot'
    >>> check_location("s3://raw"), check_location("root://host//a/../b")
    ('names no file: after s3:// come a bucket, a slash and a name', 'must have no .. in it')
    >>> check_location("file://elsewhere/a.csv")
    'names the file of another machine; give the path as pilots see it'
    """
    if wrong := check_place(place):
        return wrong
    found = _SCHEME.match(place)
    if found is None:
        return "" if place.startswith("/") else "is neither an absolute path nor a URL"
    scheme, rest = _name_scheme(found[1]), place[found.end() :]
    host, _, path = rest.partition("/")
    if ":" in host.rpartition("@")[0]:
        return "holds a password, which everybody would see; leave it to the environment of the pilot"
    if scheme == "file" and host.lower() not in {"", "localhost"}:
        return "names the file of another machine; give the path as pilots see it"
    if f"{scheme}://" not in STAGED:
        return ""
    if not host or not path.strip("/") or path.endswith("/"):
        kind = "a bucket" if scheme == "s3" else "a host"
        return f"names no file: after {scheme}:// come {kind}, a slash and a name"
    if ".." in path.split("/"):
        return "must have no .. in it"
    if scheme == "root" and "?" in path:
        return "has parameters behind a ?; leave them, and tokens above all, to the environment of the pilot"
    return ""


def check_target(place: str) -> str:
    """Return why `place` cannot be a published name, or nothing.

    Parameters
    ----------
    place : str
        An absolute path, or a URL that pilots bring files to.

    Returns
    -------
    str
        The end of a sentence; empty if the place is fine.

    Examples
    --------
    >>> check_target("/data/a.csv"), check_target("s3://shown/a.csv")
    ('', '')
    >>> check_target("https://example.org/a.csv")
    'is at no store that pilots bring files to; they are s3:// and root://'
    """
    if not is_url(place):
        return check_published(place)
    wrong = check_location(place + "x" if place.endswith("/") else place)
    if not wrong and not find_staged(normalise_place(place)):
        return f"is at no store that pilots bring files to; they are {' and '.join(STAGED)}"
    return wrong


def normalise_place(place: str) -> str:
    """Return the one spelling of a path or URL.

    Parameters
    ----------
    place : str
        What `check_location` has nothing against. Nothing is looked up, so two names of one file stay two.

    Returns
    -------
    str
        A path for ``file://`` URLs; else the URL with its scheme and host in small letters and no default port. The
        path of a ``root://`` URL is an absolute one, behind two slashes; the name of an S3 object is taken as it is.

    Examples
    --------
    >>> normalise_place("file:///data/run%201.csv"), normalise_place("//data/./x/../run.csv")
    ('/data/run 1.csv', '/data/run.csv')
    >>> normalise_place("XRoot://EOS.example.org:1094/data/./a.root")
    'root://eos.example.org//data/a.root'
    >>> normalise_place("root://eos//data/a.root")
    'root://eos//data/a.root'
    >>> normalise_place("S3://raw/Run 1%20.h5"), normalise_place("HTTPS://Example.org:443/A")
    ('s3://raw/Run 1%20.h5', 'https://example.org/A')
    """
    found = _SCHEME.match(place)
    if found is None:
        return "/" + posixpath.normpath(place).lstrip("/") if place.startswith("/") else place
    scheme, rest = _name_scheme(found[1]), place[found.end() :]
    host, slash, path = rest.partition("/")
    if scheme == "file":
        return normalise_place("/" + unquote(path))
    if scheme == "s3":
        return f"s3://{rest}"
    user, at, name = host.rpartition("@")
    host = user + at + name.lower().removesuffix(f":{_PORTS.get(scheme)}")
    if scheme == "root":
        slash, path = "//", normalise_path(path).lstrip("/")
    return f"{scheme}://{host}{slash}{path}"


def name_site(place: str, site: str) -> str:
    """Return the site that a place belongs to: that of a path; none for a URL, which is the same everywhere.

    Parameters
    ----------
    place : str
        In its normal form.
    site : str
        Whose pilots can read it, if it is a path.

    Examples
    --------
    >>> name_site("/data/a.csv", "cern"), name_site("s3://raw/a.csv", "cern")
    ('cern', '')
    """
    return "" if is_url(place) else site


def _name_scheme(text: str) -> str:
    scheme = text.lower()
    return _ALIASES.get(scheme, scheme)
