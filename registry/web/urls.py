"""The addresses of the pages."""

from django.urls import path

from registry.web import account, adapters, base_models, benchmarks, browse

app_name = "web"
urlpatterns = [
    path("", browse.home, name="home"),
    path("adapters", browse.adapters, name="adapters"),
    path("a/<str:namespace>/<str:name>", adapters.adapter, name="adapter"),
    path("a/<str:namespace>/<str:name>/v/<str:version>", adapters.adapter, name="version"),
    path("a/<str:namespace>/<str:name>/v/<str:version>/report", adapters.report, name="report"),
    path("t/<path:name>", benchmarks.benchmark, name="benchmark"),
    path("b/<path:name>", base_models.base_model, name="base"),
    path("login", account.login, name="login"),
    path("logout", account.logout, name="logout"),
    path("settings/tokens", account.tokens, name="tokens"),
]
