"""Policies: which benchmarks a namespace requires, and by which gates it decides."""

from hub.spec import policy as spec
from registry.errors import NotFound
from registry.models import Namespace, Policy
from registry.queries import benchmark_shapes, benchmarks
from registry.queries.viewers import Viewer


def of(namespace: Namespace) -> spec.Policy:
    """Return the policy of a namespace: its own, else the hub's."""
    row = Policy.objects.filter(namespace=namespace).first()
    return spec.parse(row.definition) if row else spec.DEFAULT


def get(namespace_name: str, viewer: Viewer) -> benchmark_shapes.PolicyShape:
    """Return the policy that decides in a namespace. Policies are public, but for the names of benchmarks that this viewer may
    not know of: of these he is told how many there are. Raises NotFound."""
    namespace = Namespace.objects.filter(name=namespace_name).first()
    if namespace is None:
        raise NotFound(f"There is no namespace {namespace_name!r}.")
    own = Policy.objects.filter(namespace=namespace).exists()
    policy = of(namespace)
    kept_back = set(benchmarks.unknown(policy.required, viewer))
    return {
        "namespace": namespace.name,
        "required": [name for name in policy.required if name not in kept_back],
        "hidden": len(kept_back),
        "gates": policy.to_json()["gates"],
        "is_default": not own,
    }
