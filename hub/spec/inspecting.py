"""The walk over an adapter's files: names, first bytes, JSON and headers, each adapter read by the reader of its library."""

from __future__ import annotations

import dataclasses
import posixpath
from typing import Any

from hub.spec import base_model, card, documents, errors, leftovers, methods, scan, snapshot, tensors, torch_file
from hub.spec.components import Component, Source
from hub.spec.leftovers import FUSION_WEIGHTS, HEAD_CONFIG, HEAD_WEIGHTS, WEIGHTS
from hub.spec.methods import adapterhub_fusion, dialects
from hub.spec.methods.rewriting import Rewritten, without_code
from hub.spec.snapshot import Snapshot

MAX_COMPONENTS = 32
_OF_ADAPTERS = (snapshot.CONFIG, snapshot.FUSION, HEAD_CONFIG)


class Inspector:
    """One walk over a snapshot. What it finds is in its attributes once `run` has returned; nothing in the files makes it raise."""

    def __init__(self, files: Snapshot, base: base_model.BaseModel | None, *, to_run: bool) -> None:
        self.files, self.base, self.to_run = files, base, to_run
        self.collector = errors.Collector()
        self.notices: list[str] = []
        self.facts = card.Facts()
        self.components: list[Component] = []
        self.rewritten: list[Rewritten] = []
        self.used: set[str] = set()
        self.judged: set[str] = set()
        self.libraries: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.sent: dict[str, str] = {}
        self.headers: dict[str, tuple[tensors.Tensor, ...]] = {}

    def run(self) -> None:
        """Look at everything, in the order in which one thing helps to judge the next."""
        scan.check_files(self.files, self.collector)
        self.headers = scan.check_contents(self.files, self.collector)
        self.keep_as_safetensors()
        self.read_facts()
        self.read_components()
        self.check_leftovers()
        self.rewrite_others()
        self.check_task()

    def keep_as_safetensors(self) -> None:
        """Look at the files as the hub will keep them; `sent` says what those were called that are made of others."""
        kept = torch_file.as_kept(self.files)
        if kept is not self.files:
            self.sent = {target: path for path, target in torch_file.replaced(self.files.files).items()}
        self.files = kept

    def read_facts(self) -> None:
        with self.collector.collect():
            self.facts = card.read(self.files)

    def read_components(self) -> None:
        folders = snapshot.folders(self.files.files)
        if not folders and self.read_dialects():
            return
        if not folders:
            hint = "push the folder that save_pretrained (PEFT) or save_adapter (adapters) wrote"
            self.problem(
                "config", "config.missing", snapshot.CONFIG, "is not there: this folder holds no adapter", hint
            )
        if len(folders) > MAX_COMPONENTS:
            message = f"{len(folders)} adapters in one snapshot; at most {MAX_COMPONENTS}"
            self.problem("config", "config.components", snapshot.CONFIG, message, "split the repository")
        for folder in folders[:MAX_COMPONENTS]:
            with self.collector.collect():
                self.read_component(folder)
        self.put_fusions_together()

    def put_fusions_together(self) -> None:
        """Give fusions the adapters that they fuse. One of these that has no head is no adapter by itself any more."""
        found = {self.names[item.folder]: item for item in self.components if item.folder in self.names}
        for at, item in enumerate(self.components):
            if item.method != "fusion":
                continue
            path = snapshot.config_of(item.folder, self.files.files)
            self.components[at], problems = adapterhub_fusion.together(item, found, path)
            if self.to_run:
                self.collector.extend(problems)
        taken = {part.folder for item in self.components for part in item.fused if part.head is None}
        if taken:
            self.notices.append(f"{', '.join(sorted(taken))}: run as a part of the fusion, not each by itself")
        self.components = [item for item in self.components if item.folder not in taken]

    def read_dialects(self) -> bool:
        """Files that need no configuration; tell whether there was one."""
        found = {path: dialect for path, table in self.headers.items() if (dialect := dialects.detect(table))}
        for path, dialect in found.items():
            self.used.add(path)
            folder = posixpath.dirname(path)
            if any(component.folder == folder for component in self.components):
                message = "lies beside another adapter: nobody could name one of them"
                self.problem("config", "config.components", path, message, "put each into a folder of its own")
                continue
            source = Source(folder, {}, path, path, self.headers[path], self.collector, self.base, notices=self.notices)
            self.components.append(dialects.read(source, dialect))
            if self.to_run:
                self.collector.extend(source.unrun)
        return bool(found)

    def read_component(self, folder: str) -> None:
        path = snapshot.config_of(folder, self.files.files)
        beside = leftovers.beside(folder)
        self.used |= beside  # where it cannot be told whose they are, the reason has been told
        config = self.json(path)
        library, read = methods.detect(config, path)
        self.libraries[folder] = library
        if library == "adapters" and isinstance(config.get("name"), str):
            self.names[folder] = config["name"]
        weights = posixpath.join(folder, FUSION_WEIGHTS if path.endswith(snapshot.FUSION) else WEIGHTS[library])
        head = {posixpath.join(folder, HEAD_WEIGHTS)} if library == "adapters" else set()
        self.used -= beside - head - {weights}
        if self.files.files.keys() & _originals(weights):
            return  # could not be read: the reason has been told
        if weights not in self.files.files:
            hint = "save the adapter as safetensors (the default of save_pretrained; use_safetensors=True in adapters)"
            raise errors.SpecError.of("files.weights", weights, "is not there: the adapter has no weights", hint)
        source = Source(
            folder, config, path, weights, self.header(weights), self.collector, self.base, notices=self.notices
        )
        if library == "adapters":
            self.add_head_files(source)
        source.labels = self.component_labels(source)
        component = read(source)
        if component is not None and not self.collector.problems:
            self.rewrite(source, component)
        if self.to_run:
            self.collector.extend(source.unrun)
        if component is not None:
            self.components.append(component)

    def rewrite(self, source: Source, component: Component) -> None:
        """Note what of a good adapter's configuration is served in other words."""
        found = methods.rebuilt(source, component)
        self.rewritten += found
        self.notices += [str(one) for one in found if one.news]

    def rewrite_others(self) -> None:
        """Configurations of models and tokenizers are read by who loads them by the repository's name: no code by that way."""
        for path in self.files.files:
            if path.lower().endswith("config.json") and posixpath.basename(path) not in _OF_ADAPTERS:
                with self.collector.collect():
                    data = snapshot.whole(self.files, path, scan.MAX_JSON)
                    value = documents.loads_json(data, where=path, max_bytes=scan.MAX_JSON, max_nodes=scan.MAX_NODES)
                    found = without_code(path, value)
                    self.rewritten += [found] if found else []
                    self.notices += [str(found)] if found else []

    def add_head_files(self, source: Source) -> None:
        """AdapterHub keeps the head in files of its own."""
        config = posixpath.join(source.folder, HEAD_CONFIG)
        weights = posixpath.join(source.folder, HEAD_WEIGHTS)
        if config in self.files.files:
            source.head_config, source.head_config_path = self.json(config), config
        if weights in self.files.files:
            source.head_weights, source.head_tensors = weights, self.header(weights)

    def component_labels(self, source: Source) -> tuple[str, ...] | None:
        """What the classes of an adapter's head are called: as is said for the whole snapshot, else as its own head_config
        says (its reader's matter), else as the config.json beside it, else as the snapshot's."""
        if self.facts.sources.get("labels") in card.FOR_ALL:
            return self.facts.labels
        if source.head_config is not None and card.labels_of_head(source.head_config):
            return None
        for path in (posixpath.join(source.folder, card.MODEL_CONFIG), card.MODEL_CONFIG):
            if path in self.files.files and (labels := card.labels_of(self.json(path))):
                return labels
        return None

    def check_task(self) -> None:
        """What a head proves is believed before what a file says: by another word nobody slips out of a benchmark."""
        said, where = self.facts.task, self.facts.sources.get("task", "")
        proven = {component.task for component in self.components if component.task}
        if not proven or said in proven:
            return
        task = sorted(proven)[0]
        if where == card.HUB_JSON:
            message = f"says the task {said!r}, but the adapter's head is one for {task}"
            self.problem("config", "facts.task", where, message, "name the task of the head, or leave it out")
        elif said and where == card.README:
            self.notices.append(f"{where} names the task {said}; the head is one for {task}, which counts")
        self.facts = dataclasses.replace(self.facts, task=task)

    def check_leftovers(self) -> None:
        """Weights and configurations that no adapter uses are not stored along: nobody would ever have judged them."""
        for path in self.files.files:
            if path.endswith(".safetensors") and path not in self.used:
                self.problem(
                    "files", "files.unused", self.sent.get(path, path), *leftovers.reason(path, self.libraries)
                )
        for path in (
            () if self.collector.problems else self.files.files
        ):  # what lies beside such weights is told with them
            if posixpath.basename(path) in _OF_ADAPTERS and path not in self.judged:
                message = "is a configuration that no adapter here uses: nobody has judged it"
                self.problem("files", "files.unused", path, message, "leave it out, or put its adapter beside it")

    def json(self, path: str) -> dict[str, Any]:
        self.judged.add(path)
        data = snapshot.whole(self.files, path, documents.MAX_BYTES)
        with errors.as_check("head" if path.endswith(HEAD_CONFIG) else "config"):
            return documents.loads_object(data, where=path)

    def header(self, path: str) -> tuple[tensors.Tensor, ...]:
        if path not in self.headers:
            self.headers[path] = scan.header(self.files, path)
        return self.headers[path]

    def problem(self, check: str, code: str, where: str, message: str, hint: str = "") -> None:
        self.collector.problem(code, where, message, hint, check)


def _originals(path: str) -> set[str]:
    """The names under which PyTorch's files hold what this file is made from."""
    folder, name = posixpath.split(path)
    return {posixpath.join(folder, old) for old, new in torch_file.CONVERTED.items() if new == name}
