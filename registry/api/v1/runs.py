"""Runs: what workers ask for. A token with the scope `worker` claims; everything else takes the token of the one run."""

import uuid
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hub.spec import policy
from registry.api.authentication import RunTokenAuthentication
from registry.api.bytes import serve
from registry.api.parsers import LongJSONParser
from registry.api.schema import problem, shape
from registry.api.v1.views import Body, View
from registry.models import Scope
from registry.queries import files, run_shapes
from registry.queries import runs as questions
from registry.services import leases, reports

FINGERPRINT = r"^base:[0-9a-f]{64}\Z"
MOST_BASES = 10_000


class Wanted(Body):
    worker = serializers.CharField(max_length=128)
    bases = serializers.ListField(child=serializers.RegexField(FINGERPRINT), max_length=MOST_BASES)
    held = serializers.ListField(child=serializers.RegexField(FINGERPRINT), max_length=MOST_BASES, default=list)
    protocols = serializers.ListField(
        child=serializers.CharField(max_length=16), max_length=100, default=[policy.UNTOLD]
    )
    starting = serializers.BooleanField(default=False)
    run = serializers.UUIDField(required=False, allow_null=True)
    # Told by every worker; which run goes where does not depend on them yet.
    pools = serializers.ListField(child=serializers.CharField(max_length=64), max_length=100, required=False)
    memory_gb = serializers.FloatField(required=False, allow_null=True)
    runtimes = serializers.ListField(child=serializers.CharField(max_length=64), max_length=100, required=False)


class Beat(Body):
    stage = serializers.CharField(max_length=64, default="", allow_blank=True)
    progress = serializers.FloatField(required=False, allow_null=True)


class Told(Body):
    report = serializers.DictField()


class RunView(View):
    """A door for the holder of a run token, of that run only."""

    authentication_classes = (RunTokenAuthentication,)

    @property
    def secret(self) -> str | None:
        """The run token that was sent. The service checks it together with the run."""
        return self.request.auth if isinstance(self.request.auth, str) else None

    def admit(self, **kwargs: Any) -> None:
        """Raise Unauthenticated or LeaseLost unless the run token is one for which the body is worth reading."""
        questions.require_holder(kwargs["run_id"], self.secret)


class ClaimView(View):
    scopes = (Scope.WORKER,)

    @extend_schema(
        request=Wanted,
        responses={
            200: shape(run_shapes.Claim),
            204: OpenApiResponse(description="No run waits for a worker with these base models."),
            403: problem("A token without the scope worker."),
        },
    )
    def post(self, request: Request) -> Response:
        """Lease the oldest waiting run on one of these base models; one on a base model that is `held`, open in the worker, goes
        first until another one has waited for half a minute. `protocols` are the rules that the worker judges by: runs that were
        planned under others are not for it. The answer holds all that the run needs."""
        body = self.body(Wanted)
        found = leases.claim(
            viewer=self.viewer,
            worker=body["worker"],
            bases=body["bases"],
            protocols=body["protocols"],
            held=body["held"],
            starting=body["starting"],
            run=body.get("run"),
        )
        return Response(status=204) if found is None else Response(questions.claim(*found))


class HeartbeatView(RunView):
    @extend_schema(
        request=Beat,
        responses={
            200: shape(run_shapes.Heartbeat),
            401: problem("No run token."),
            409: problem("The lease is lost: stop."),
        },
    )
    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        """Keep the lease. Beat at a quarter of `lease_seconds`."""
        leases.heartbeat(run_id=run_id, secret=self.secret, **self.body(Beat))
        return Response(questions.heartbeat())


class RunReportView(RunView):
    parser_classes = (LongJSONParser,)

    @extend_schema(
        request=Told,
        responses={
            200: shape(run_shapes.Reported),
            401: problem("No run token."),
            409: problem("The lease is lost: nothing was changed."),
            422: problem("The report does not answer its plan, or contradicts itself. The lease stays."),
        },
    )
    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        """End the run with a report. The same report again under the same token changes nothing."""
        status = reports.take(run_id=run_id, secret=self.secret, **self.body(Told))
        return Response({"status": status})


class RunBlobView(RunView):
    @extend_schema(
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            401: problem("No run token."),
            404: problem("Not one of this run's files."),
            409: problem("The lease is lost."),
        }
    )
    def get(self, request: Request, run_id: uuid.UUID, sha256: str) -> HttpResponseBase:
        """A file of the adapter, or of a benchmark of the plan, while the lease lasts."""
        return serve(request._request, files.of_run(run_id, self.secret, sha256))
