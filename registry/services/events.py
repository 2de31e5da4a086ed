"""The audit log: a line for everything that changes what others see. The database refuses to alter it."""

from typing import Any

from registry.models import Event


def record(*, actor: str, kind: str, subject: str, **data: Any) -> None:
    """Append a line: who did what to which thing. Called inside the transaction of the change."""
    Event.objects.create(actor=actor, kind=kind, subject=subject[:300], data=data)
