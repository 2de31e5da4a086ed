"""What a diagnosis is about and what it says: base models of this machine, and what was found of one adapter."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.spec.base_model import BaseModel
from hub.spec.components import Component


@dataclass(frozen=True)
class KnownBase:
    """A base model of this machine: where it lies, what it is called, and its tensors."""

    name: str
    folder: Path
    base: BaseModel


@dataclass
class Finding:
    """One adapter and what was found. `kind` of a remark: problem (it is refused), warning, note.

    `declared`: method and rank of a configuration whose weights could not be read. `unrun`: why no worker runs it, on none of the
    base models that it fits.
    """

    place: str
    component: Component | None = None
    base: str | None = None
    trained_on: str | None = None
    fits: list[dict[str, str]] = field(default_factory=list)
    remarks: list[dict[str, str]] = field(default_factory=list)
    serving: dict[str, str] = field(default_factory=dict)
    nbytes: int = 0
    labels: tuple[str, ...] | None = None
    written_by: str = ""
    declared: tuple[str, int] = ("", 0)
    sizes: dict[str, Any] = field(default_factory=dict)
    unrun: tuple[str, ...] = ()

    def remark(self, kind: str, text: str, hint: str = "") -> None:
        """Add a remark."""
        self.remarks.append({"kind": kind, "text": text, **({"hint": hint} if hint else {})})

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(remark["kind"] == "problem" for remark in self.remarks)

    @property
    def verdict(self) -> str:
        """problems: it would be refused; look: there is a warning, or no worker runs it; cannot tell: no base model was there to
        hold it against; fine: nothing is wrong, and it fits a base model."""
        kinds = {remark["kind"] for remark in self.remarks}
        if "problem" in kinds:
            return "problems"
        if "warning" in kinds or self.unrun:
            return "look"
        return "fine" if self.fits else "cannot tell"

    def to_json(self) -> dict[str, Any]:
        """The finding for machines."""
        component = self.component
        facts: dict[str, Any] = {
            "place": self.place,
            "ok": self.ok,
            "verdict": self.verdict,
            "base": self.base,
            "bytes": self.nbytes,
        }
        if component is not None:
            facts |= {
                "library": component.library, "method": component.method, "variant": component.variant,
                "rank": component.rank, "parameters": component.parameters,
                "head_parameters": component.head_parameters, "saved_parameters": component.saved_parameters,
                "modules": len({part.module for part in component.parts}), "nbytes": component.nbytes, "sizes": self.sizes,
                "head": component.head.num_labels if component.head else None, "labels": self.labels,
                "names": component.generation or "of the files", "shapes_checked": component.checked,
                "unrun": list(self.unrun), "by_library": list(component.by_library),
                "serving": self.serving, "written_by": self.written_by,
            }  # fmt: skip
        elif self.declared[0]:
            facts |= {"method": self.declared[0], "rank": self.declared[1]}
        return facts | {"fits": self.fits, "remarks": self.remarks}
