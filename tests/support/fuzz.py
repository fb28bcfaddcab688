"""Requests made by schemathesis from the OpenAPI document, and the checks that each answer has to pass."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig

from p3s.server.auth import Role
from tests.support.api import UUID, Api

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemathesis.generation import GenerationMode

__all__ = ["ROLES", "Fuzzer"]

load_all_checks()
CHECKS: list[Any] = schemathesis.checks.CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
#: Who calls; a registered pilot calls with its own secret.
ROLES = [None, Role.VIEWER, Role.SUBMITTER, Role.PILOT, Role.SELF, Role.ADMIN]
#: Ids of what the application has at the start: a made-up id finds nothing, and what lies behind stays untried.
KNOWN = [UUID % 1, UUID % 2, f"{UUID % 1}/a", "@last", "small", "default", "h", "viewer", "raw", "/data/raw"]


class Fuzzer:
    """Sends requests to one application in one role.

    Attributes
    ----------
    seen : Counter
        Answers by operation and status.
    wrong : dict
        By operation, what was wrong with an answer, and the smallest request found that shows it.
    """

    def __init__(self, api: Api, role: Role | None) -> None:
        api.load()
        secret = api.register(2).get_json()["secret"]
        api.call("POST", "/datasets", Role.SUBMITTER, {"place": "/data/raw"})
        token = secret if role is Role.SELF else api.tokens[role] if role else ""
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api.app, config=SchemathesisConfig())
        self.seen: Counter[tuple[str, int]] = Counter()
        self.wrong: dict[str, str] = {}

    def run(self, mode: GenerationMode, cases: int, until: float = float("inf")) -> None:
        """Send so many requests to each operation, as long as the monotonic clock is before `until`."""
        for found in self._schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            if time.monotonic() < until and operation.label not in self.wrong:
                try:
                    self._make_walk(operation, mode, cases)()
                except Exception:  # noqa: BLE001 - whatever it is, it is reported, and the other operations are tried
                    self.wrong[operation.label] = traceback.format_exc(limit=-1)

    def _make_walk(self, operation: Any, mode: GenerationMode, cases: int) -> Callable[[], None]:
        @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(generation_mode=mode) | operation.as_strategy(), st.sampled_from([None, *KNOWN]))
        def walk(case: Any, known: str | None) -> None:
            if known is not None and case.path_parameters:
                case.path_parameters = dict.fromkeys(case.path_parameters, known)
            if isinstance(case.body, dict) and isinstance(case.body.get("wait"), int | float):
                # A held call is answered after so long; nothing else depends on it.
                case.body["wait"] = min(case.body["wait"], 0)
            answer = case.call(headers=self._headers)
            self.seen[case.operation.label, answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        return walk
