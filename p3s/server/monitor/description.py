"""The page of the API's description, for people: every route, its bodies, and a form to try it."""

from __future__ import annotations

from p3s.server.monitor.frame import blueprint, render


@blueprint.get("/api/v1/docs")
def describe_api() -> str:
    """Show the OpenAPI document; it is open to all, as the document is."""
    return render("api.html", title="API")
