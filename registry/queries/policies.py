"""Policies: which benchmarks a namespace requires, and by which gates it decides."""

from hub.spec import policy as spec
from registry.errors import NotFound
from registry.models import Namespace, Policy
from registry.queries import shapes


def of(namespace: Namespace) -> spec.Policy:
    """Return the policy of a namespace: its own, else the hub's."""
    row = Policy.objects.filter(namespace=namespace).first()
    return spec.parse(row.definition) if row else spec.DEFAULT


def get(namespace_name: str) -> shapes.PolicyShape:
    """Return the policy that decides in a namespace. Policies are public. Raises NotFound."""
    namespace = Namespace.objects.filter(name=namespace_name).first()
    if namespace is None:
        raise NotFound(f"There is no namespace {namespace_name!r}.")
    own = Policy.objects.filter(namespace=namespace).exists()
    policy = of(namespace)
    return {
        "namespace": namespace.name,
        "required": list(policy.required),
        "gates": policy.to_json()["gates"],
        "is_default": not own,
    }
