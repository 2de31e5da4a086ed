"""The forms of the pages."""

import datetime
from typing import Any

from django import forms
from django.utils import timezone

from registry.models import Scope, User

PERSONAL = [
    (Scope.READ.value, "read: pull, also what is private"),
    (Scope.PUSH.value, "push: publish, yank, and read"),
]
OPERATOR = [(Scope.WORKER.value, "worker: claim and report runs"), (Scope.ADMIN.value, "admin: everything")]


class TokenForm(forms.Form):
    """A new access token. A scope for operators is offered to operators only (the service asks again)."""

    name = forms.CharField(max_length=200, help_text="Where it will be used, such as “CI of my-team”.")
    scope = forms.ChoiceField()
    days = forms.IntegerField(
        label="Valid for days",
        min_value=1,
        max_value=3650,
        initial=90,
        required=False,
        help_text="Empty: it never expires.",
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = PERSONAL + (OPERATOR if user.is_staff else [])  # type: ignore[attr-defined]

    def expires_at(self) -> datetime.datetime | None:
        """Return when the token ends, None for never."""
        days = self.cleaned_data["days"]
        return timezone.now() + datetime.timedelta(days=days) if days else None
