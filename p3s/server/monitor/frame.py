"""What all pages share: the blueprint, who looks, how a page is shown or exported, and what an error looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from apiflask import APIBlueprint
from flask import Response, current_app, g, render_template, request

from p3s import __version__
from p3s.errors import BadInput, NoToken, P3sError, Problem
from p3s.server.auth import Role
from p3s.server.monitor.export import export_table
from p3s.server.monitor.values import FILTERS
from p3s.server.sessions import check_mark, make_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from p3s.server.auth import Who
    from p3s.server.monitor.shapes import Shapes
    from p3s.server.monitor.tables import Table
    from p3s.server.usecases.core import Core

__all__ = [
    "Page",
    "blueprint",
    "caller",
    "choose_own",
    "core",
    "find_target",
    "is_admin",
    "may_change",
    "page",
    "protect",
    "render",
    "shapes",
    "show_error",
]

blueprint = APIBlueprint("monitor", "p3s.monitor", enable_openapi=False)
blueprint.before_request(check_mark)

#: Only what p3s itself serves is loaded, and no script or style stands in a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

#: An address of this server: one slash, then no second one and no backslash, which would name another host.
_OWN = re.compile(r"/(?![/\\])[^\x00-\x1f\\]*\Z")

#: The pages of the header, by the first part of their addresses: a name, and the pages that stand beside each other.
PAGES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Overview", (("", "Overview"),)),
    ("Workflows", (("workflows", "Workflows"), ("archive", "Archive"))),
    ("Jobs", (("jobs", "Jobs"), ("jobtypes", "Jobtypes"))),
    ("Results", (("results", "Results"),)),
    ("Data", (("datasets", "Datasets"), ("files", "Files seen"), ("datatypes", "Datatypes"))),
    ("DAGs", (("dags", "DAGs"),)),
    ("Pilots", (("pilots", "Pilots"), ("hosts", "Hosts"), ("sites", "Sites"))),
    ("System", (("services", "Services"), ("events", "Events"))),
)


@dataclass(slots=True)
class Page:
    """What a page shows.

    Attributes
    ----------
    template : str
        Its name.
    title : str
        Of the window.
    tables : tuple of Table
        What may be exported; the first is the one meant by default.
    values : dict
        What else the template reads.
    """

    template: str
    title: str
    tables: tuple[Table, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


def choose_own(given: str, otherwise: str) -> str:
    """Return the address that a form says to go to, if it is one of this server."""
    return given if _OWN.match(given) else otherwise


def core() -> Core:
    """Return the server that this application belongs to."""
    return cast("Core", current_app.extensions["p3s"])


def shapes() -> Shapes:
    """Return what this process keeps of the graphs that were looked at."""
    return cast("Shapes", current_app.extensions["p3s-shapes"])


def caller() -> Who:
    """Return who looks."""
    return cast("Who", g.who)


def is_admin() -> bool:
    """Tell whether who looks may do everything."""
    return caller().role is Role.ADMIN


def may_change(owner: str) -> bool:
    """Tell whether who looks may change what belongs to `owner`; the use cases ask again."""
    return is_admin() or (caller().role is Role.SUBMITTER and caller().name == owner)


def page(rule: str) -> Callable[[Callable[..., Page]], Callable[..., Response]]:
    """Make a function that returns a `Page` the route of an address."""

    def decorate(function: Callable[..., Page]) -> Callable[..., Response]:
        @wraps(function)
        def view(**kwargs: Any) -> Response:
            made = function(**kwargs)
            wanted = request.args.get("format")
            if wanted is not None:
                return _export(made, wanted)
            text = render(
                made.template, title=made.title, tables={table.name: table for table in made.tables}, **made.values
            )
            response = Response(text, mimetype="text/html")
            # A page that says the same is not sent again.
            response.add_etag(weak=True)
            response.make_conditional(request)
            return response

        return cast("Callable[..., Response]", blueprint.get(rule)(view))

    return decorate


def render(template: str, **values: Any) -> str:
    """Return a template's text, with what all of them read."""
    return render_template(
        template,
        who=g.get("who"),
        version=__version__,
        pages=PAGES,
        here=request.path.split("/")[1],
        back=find_target(),
        is_admin=is_admin,
        may_change=may_change,
        make_mark=make_mark,
        **values,
    )


def _export(made: Page, wanted: str) -> Response:
    tables = {table.name: table for table in made.tables}
    name = request.args.get("table") or next(iter(tables), "")
    if name not in tables:
        names = ", ".join(tables) or "none"
        raise BadInput([Problem(f"'{name}' is no table of this page; it has: {names}", where="table")])
    return export_table(tables[name], wanted)


for _name, _filter in FILTERS.items():
    blueprint.add_app_template_filter(_filter, _name)


def show_error(answer: Response, error: P3sError | None = None) -> Response:
    """Turn the answer of an error into a page that says what happened; the login form where nobody is logged in."""
    if isinstance(error, NoToken):
        answer.set_data(render("login.html", title="Log in", message=str(error), target=find_target()))
    else:
        told = answer.get_json()["error"]
        answer.set_data(render("error.html", title="Not done", status=answer.status_code, **told))
    answer.mimetype = "text/html"
    return protect(answer)


def find_target() -> str:
    """Return where to go on after logging in: where the visitor wanted to."""
    return request.full_path.rstrip("?") if request.method == "GET" else "/"


@blueprint.after_request
def protect(response: Response) -> Response:
    """Admit nothing but what p3s itself serves."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
