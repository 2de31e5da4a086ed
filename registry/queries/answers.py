"""What an adapter answered row by row, for who reads a report: where it lies, and on which benchmarks it is shown at all.

Answers to a private benchmark are kept, since the next version is compared with them, and shown to nobody: not their bytes, and not
their digest either, against which guesses could be tried.
"""

from collections.abc import Iterable
from typing import Any

from registry.errors import NotFound
from registry.models import Blob, Score, Version, Visibility
from registry.queries import shapes, versions


def with_answers(version: Version, parts: Iterable[Any], scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Return the components of a version's report with `answers` beside each score: a file to fetch, or None where none is shown."""
    shown = {_place(score): _file(version, score) for score in scores if _is_shown(score)}
    return [
        {**part, "scores": [{**told, "answers": shown.get(_told(part, told))} for told in part.get("scores") or []]}
        for part in parts
    ]


def blob_of(version: Version, sha256: str) -> tuple[Blob, str]:
    """Return a blob of answers that a version's report shows, and its path there. Raises NotFound for every other digest."""
    scores = version.run.scores.select_related("benchmark", "answers") if version.run else Score.objects.none()
    for score in scores.filter(answers=sha256):
        if _is_shown(score) and score.answers is not None:
            return score.answers, path_of(score)
    raise NotFound(f"The report of {versions.ref_of(version)} shows no answers of this digest.")


def path_of(score: Score) -> str:
    """Return a file name for the answers behind a score that no other score of its run has."""
    name = f"{score.benchmark.name}.{score.benchmark_id[:8]}.jsonl"
    return f"{score.component_folder}/{name}" if score.component_folder else name


def _is_shown(score: Score) -> bool:
    return score.answers_id is not None and score.benchmark.visibility == Visibility.PUBLIC


def _file(version: Version, score: Score) -> shapes.FileShape:
    blob = score.answers
    assert blob is not None, "shown"
    url = versions.answers_url(version, blob.pk)
    return {"path": path_of(score), "sha256": blob.pk, "size": blob.size, "url": url}


def _place(score: Score) -> tuple[str, str, str]:
    return score.component_folder, score.benchmark_id, score.runtime


def _told(part: dict[str, Any], score: dict[str, Any]) -> tuple[str, str, str]:
    digest = str(score.get("digest")).removeprefix("sha256:")
    return str(part.get("folder") or ""), digest, str(score.get("runtime") or "reference")
