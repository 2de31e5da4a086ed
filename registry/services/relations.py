"""What one base model is of another, said by who may say it."""

from django.db import transaction

from registry.errors import Forbidden, Invalid
from registry.models import BaseModel, BaseRelation, Scope
from registry.queries import base_models, viewers
from registry.queries.viewers import Viewer
from registry.services import events
from registry.services.base_models import registered_by


@transaction.atomic
def relate(*, viewer: Viewer, name: str, parent: str, kind: str) -> tuple[BaseRelation, bool]:
    """Say that a base model comes from another one; return the relation, and whether it is new.

    Operators and workers observe; whoever registered the base, or may write in the namespace that owns it, claims. What
    was observed stays so; a claim that is observed later becomes observed. Raises NotFound, Forbidden, Invalid.
    """
    viewers.require_scope(viewer, Scope.PUSH, Scope.WORKER)
    base, other = base_models.get(name, viewer), base_models.get(parent, viewer)
    if kind not in BaseRelation.Kind.values:
        raise Invalid(f"There is no relation {kind!r}.", hint=f"One of: {', '.join(BaseRelation.Kind.values)}.")
    if base.pk == other.pk:
        raise Invalid("A base model does not come from itself.", hint="Two names may mean one base model.")
    observes = viewer.is_admin or viewer.is_worker
    if not observes and not _answers_for(viewer, base):
        raise Forbidden(
            f"What {base} comes from is said by who registered it, or by operators.", hint="Ask an operator of the hub."
        )
    state = BaseRelation.State.OBSERVED if observes else BaseRelation.State.CLAIMED
    row, made = BaseRelation.objects.get_or_create(
        base=base, parent=other, kind=kind, defaults={"state": state, "claimed_by": viewer.name}
    )
    if not made and observes and row.state == BaseRelation.State.CLAIMED:
        row.state = state
        row.save(update_fields=["state"])
    elif not made:
        return row, False
    events.record(actor=viewer.name, kind="base.related", subject=base.pk, parent=other.pk, relation=kind, state=state)
    return row, made


def _answers_for(viewer: Viewer, base: BaseModel) -> bool:
    owner = base.owner
    return registered_by(viewer, base) or (owner is not None and viewers.role_in(viewer, owner) in viewers.WRITING)
