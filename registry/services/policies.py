"""Policies: set what a namespace requires. They belong to its admins."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.spec import policy as spec
from hub.spec.errors import SpecError
from registry.errors import Invalid, UnknownBenchmark
from registry.models import Policy
from registry.queries import benchmark_shapes, benchmarks, policies, viewers
from registry.queries.viewers import Viewer
from registry.services import events


@transaction.atomic
def put(*, viewer: Viewer, namespace: str, definition: dict[str, Any]) -> benchmark_shapes.PolicyShape:
    """Set the policy of a namespace: `{required, gates}`. What is published already stays so.

    Raises Forbidden for who is no admin there, Invalid, UnknownBenchmark.
    """
    home = viewers.require_administrator(viewer, namespace)
    try:
        policy = spec.parse(definition)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    known = set(benchmarks.visible(viewer).filter(name__in=policy.required).values_list("name", flat=True))
    unknown = [name for name in policy.required if name not in known]
    if unknown:
        raise UnknownBenchmark(f"This hub has no benchmark {unknown[0]!r}.", hint="hub benchmark ls")
    Policy.objects.update_or_create(
        namespace=home, defaults={"definition": policy.to_json(), "updated_at": timezone.now()}
    )
    events.record(actor=viewer.name, kind="policy.set", subject=namespace, definition=policy.to_json())
    return policies.get(namespace, viewer)
