"""The operators' back room: look at everything, change little. What has rules is changed by its service."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.http import HttpRequest

from registry import models

admin.site.site_header = "Adapter hub"
admin.site.register(models.User, UserAdmin)


if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnly(ModelAdmin):
    """Rows to look at."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: rows come from services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


def _show(model: type[Model], *columns: str, filters: tuple[str, ...] = (), search: tuple[str, ...] = ()) -> None:
    options = {"list_display": columns, "list_filter": filters, "search_fields": search, "list_select_related": True}
    admin.site.register(model, type(f"{model.__name__}Admin", (ReadOnly,), options))


_show(models.Namespace, "name", "kind", "created_at", filters=("kind",), search=("name",))
_show(models.Membership, "namespace", "user", "role", filters=("role",))
_show(models.Token, "user", "name", "prefix", "scope", "expires_at", "last_used_at", "revoked_at", filters=("scope",))
_show(
    models.Adapter,
    "namespace",
    "name",
    "visibility",
    "task",
    "method",
    "pulls",
    filters=("visibility",),
    search=("name",),
)
_show(models.Version, "adapter", "number", "label", "status", "stage", "created_at", filters=("status",))
_show(models.Run, "id", "status", "stage", "worker", "attempt", "takeovers", "created_at", filters=("status",))
_show(models.Score, "run", "benchmark", "metric", "value", "n")
_show(
    models.BaseModel, "fingerprint", "name", "state", "parameters", filters=("state",), search=("name", "fingerprint")
)
_show(models.Benchmark, "name", "digest", "task", "metric", "rows", "visibility", search=("name",))
_show(models.Policy, "namespace", "updated_at")
_show(models.Upload, "id", "adapter", "user", "state", "attempt", "created_at", "expires_at", filters=("state",))
_show(models.Original, "manifest", "path", "converted", "blob", "created_at", search=("blob__sha256",))
_show(models.Event, "at", "actor", "kind", "subject", filters=("kind",), search=("subject", "actor"))
_show(models.Outbox, "id", "queue", "kind", "payload", "sent_at", "sends", filters=("queue",))
