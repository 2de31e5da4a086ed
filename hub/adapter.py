"""An adapter on this machine: a folder with verified files, and how to run it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub import bases, config, errors, stored, verdicts
from hub.spec import reference
from hub.transfer.wire import Wire

INSTALL = 'pip install "adapter-hub[torch]"'


class Adapter(os.PathLike[str]):
    """What `hub.pull` returns; usable wherever a path is (`PeftModel.from_pretrained(model, adapter)`).

    `.path` is the folder of the adapter's files (of the component that `#folder` names), `.ref` the pinned reference,
    `.version` label or number, `.digest` "sha256:<hex>", `.base_model` {fingerprint, name, state, roots, locations}
    or None, `.method`, `.task`, `.labels`, and `.report`, which asks the hub when it is first read.
    """

    def __init__(
        self, snapshot: Path, facts: Mapping[str, Any], settings: config.Settings, *, folder: str | None = None
    ) -> None:
        self.snapshot = snapshot
        self.folder = folder
        self.path = snapshot.joinpath(*folder.split("/")) if folder else snapshot
        self.ref = str(facts["ref"]) + (f"#{folder}" if folder else "")
        self.version = str(facts.get("version") or "")
        self.digest = f"sha256:{str(facts['digest']).removeprefix('sha256:')}"
        self.base_model: dict[str, Any] | None = facts.get("base_model")
        self.method = str(facts.get("method") or "")
        self.task = str(facts.get("task") or "")
        self.labels: list[str] | None = facts.get("labels")
        self._settings = settings
        self._report: verdicts.Report | None = None
        self._loaded: tuple[Any, Any] | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Adapter({self.ref!r}, path={str(self.path)!r})"

    @property
    def report(self) -> verdicts.Report:
        """The verdict with every check and score. Raises NetworkError offline."""
        if self._report is None:
            with Wire(self._settings.endpoint, self._settings.token, offline=self._settings.offline) as wire:
                self._report = verdicts.fetch(wire, reference.parse(self.ref).repo, self.digest)
        return self._report

    def load(self, base: object = None) -> tuple[Any, Any]:
        """(model, tokenizer): the base model, checked by its hash, with adapter and head attached, in eval mode.

        The base model is `base` (a folder), or is looked for: HUB_BASES, then what `hub base add` remembered, then its
        Hugging Face name, then the hub's own store. Raises UsageError without torch, NotFound without the base model, IncompatibleBaseModel for
        another one.
        """
        if not self.base_model or not self.base_model.get("fingerprint"):
            raise errors.UsageError(
                f"{self.ref} is hosted without a base model that the hub knows",
                hint=f"load its files yourself: {self.path}",
            )
        runtime = _runtime()
        where = stored.locate(self.base_model, self._settings, base=base)
        model, tokenizer = runtime.load(self.snapshot, where, **({"component": self.folder} if self.folder else {}))
        # What lies there was hashed when it was opened: the folder may have changed since it was looked up.
        bases.insist(model.base, self.base_model, where)
        return model, tokenizer

    def predict(
        self, texts: Sequence[str], *, pairs: Sequence[str] | None = None, base: object = None
    ) -> list[dict[str, Any]]:
        """The most likely label of each text: [{"label": "positive", "score": 0.98}, ...]; of other ML tasks what
        `hub.runtime.answering` says. `pairs` are second texts, or the contexts of questions. Loads the model once."""
        if isinstance(texts, str):
            raise errors.UsageError("predict takes a list of texts", hint="predict([text])")
        if self._loaded is None or base is not None:
            self._loaded = self.load(base)
        from hub.runtime.answering import answer

        return answer(*self._loaded, list(texts), None if pairs is None else list(pairs))


def _runtime() -> Any:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise errors.UsageError(
            f"running an adapter needs torch and transformers ({error.name} is missing)", hint=INSTALL
        ) from None
    from hub import runtime

    return runtime
