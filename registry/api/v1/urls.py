"""The routes of version 1."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from registry.api.v1 import (
    adapters,
    base_files,
    base_models,
    benchmarks,
    compat,
    hashes,
    me,
    policies,
    resolve,
    runs,
    uploads,
    versions,
)

ADAPTER = "adapters/<str:namespace>/<str:name>"
VERSION = f"{ADAPTER}/versions/<str:version>"

urlpatterns = [
    path("schema", SpectacularJSONAPIView.as_view(authentication_classes=(), permission_classes=()), name="schema"),
    path("me", me.MeView.as_view()),
    path("resolve", resolve.ResolveView.as_view()),
    path("adapters", adapters.AdaptersView.as_view()),
    path(ADAPTER, adapters.AdapterView.as_view()),
    path(f"{ADAPTER}/uploads", uploads.UploadsView.as_view()),
    path(f"{ADAPTER}/versions", versions.VersionsView.as_view()),
    path(VERSION, versions.VersionView.as_view()),
    path(f"{VERSION}/report", versions.ReportView.as_view()),
    path(f"{VERSION}/answers/<str:sha256>", versions.AnswersView.as_view()),
    path(f"{VERSION}/fits", versions.FitsView.as_view()),
    path(f"{VERSION}/files/<path:path>", versions.FileView.as_view()),
    path(f"{VERSION}/yank", versions.YankView.as_view()),
    path(f"{VERSION}/unyank", versions.UnyankView.as_view()),
    path("uploads/<uuid:upload_id>", uploads.UploadView.as_view()),
    path("uploads/<uuid:upload_id>/blobs/<int:n>", uploads.UploadBlobView.as_view()),
    path("uploads/<uuid:upload_id>/complete", uploads.CompleteView.as_view()),
    path("base-models", base_models.BaseModelsView.as_view()),
    path("base-models/located", base_models.LocatedBasesView.as_view()),
    path("base-models/<path:name>/files", base_files.BaseFilesView.as_view()),
    path("base-models/<path:name>/files/<str:path>", base_files.BaseFileView.as_view()),
    path("base-models/<path:name>/adapters", base_models.BaseAdaptersView.as_view()),
    path("base-models/<path:name>/locations", base_models.LocationsView.as_view()),
    path("base-models/<path:name>/matrix", base_models.MatrixView.as_view()),
    path("base-models/<path:name>/relations", base_models.RelationsView.as_view()),
    path("base-models/<path:name>", base_models.BaseModelView.as_view()),
    path("compat/bases", compat.BasesView.as_view()),
    path("compat/check", compat.CheckView.as_view()),
    path("by-hash/<str:digest>", hashes.ByHashView.as_view()),
    path("benchmarks", benchmarks.BenchmarksView.as_view()),
    re_path(
        r"^benchmarks/(?P<digest>sha256:[0-9a-f]{64})/files/(?P<name>[^/]+)$", benchmarks.BenchmarkFileView.as_view()
    ),
    path("benchmarks/<path:name>", benchmarks.BenchmarkView.as_view()),
    path("policies/<str:namespace>", policies.PolicyView.as_view()),
    path("runs/claim", runs.ClaimView.as_view()),
    path("runs/<uuid:run_id>/heartbeat", runs.HeartbeatView.as_view()),
    path("runs/<uuid:run_id>/report", runs.RunReportView.as_view()),
    path("runs/<uuid:run_id>/blobs/<str:sha256>", runs.RunBlobView.as_view()),
]
