"""What attaching leaves behind: hooks and merged layers that can be switched off, and taken off."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from hub import errors
from hub.runtime.merging import Layer

REFERENCE = "reference"
"""This hub's own runtime."""
_WHICH = 'say {"usage": {"task": 0}} in hub.json; in Python model.adapter.answer_for(0), or task_ids in the call'
Hook = TypeVar("Hook", bound=Callable[..., Any])


def token_wise(hook: Hook) -> Hook:
    """Mark a forward hook that treats every token by itself: it may be given the tokens of all rows in one, or some of them."""
    hook.token_wise = True  # type: ignore[attr-defined]
    return hook


class Attached:
    """An adapter on a backbone. Leaving the context takes it off; `enabled` switches it."""

    runtime = REFERENCE
    """Whose arithmetic it is, as a report's scores name it."""

    def __init__(self, every: frozenset[str]) -> None:
        self.consumed: frozenset[str] = frozenset()
        self.every = every
        self.taken = 0
        """Positions of the base model that belong to the adapter: so much shorter is the longest text."""
        self.tasks = 1
        """Tasks that the adapter was trained for, each with numbers of its own."""
        self.task: int | None = None
        """Which of them it answers for, where a call does not say."""
        self.asked: torch.Tensor | None = None
        """The task of each row of the call that is under way, where it says."""
        self._enabled = True
        self._handles: list[Any] = []
        self._merged: list[tuple[torch.nn.Module, Layer]] = []
        """Modules and the layers that they do not hold now: the merged ones while it is off, their own while it is on."""

    @property
    def enabled(self) -> bool:
        """Whether the backbone answers with the adapter."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on != self._enabled:
            self._enabled = on
            self._exchange()

    @property
    def applied(self) -> tuple[frozenset[str], frozenset[str]]:
        """(keys of the tensors that are at work, keys of all tensors that were handed over)."""
        return self.consumed, self.every

    def add(self, handle: Any, consumed: Mapping[str, str]) -> None:
        """Keep a hook's handle, and note which tensors it uses (role -> key)."""
        self._handles.append(handle)
        self.consumed |= frozenset(consumed.values())

    def put(self, module: torch.nn.Module, merged: Layer, consumed: frozenset[str]) -> None:
        """Let a module compute with a merged layer from now on."""
        self._merged.append((module, _exchanged(module, merged)))
        self.consumed |= consumed

    def answer_for(self, task: object) -> None:
        """Choose one of the tasks that the adapter was trained for. Raises UsageError, the adapter taken off."""
        if type(task) is not int or not 0 <= task < self.tasks:
            self.detach()
            nobody = "nothing says which is asked for" if task is None else f"{task!r} is none of them"
            message = f"the adapter was trained for tasks 0 to {self.tasks - 1}, and {nobody}"
            raise errors.UsageError(message, hint=_WHICH)
        self.task = task

    def chosen(self, rows: int) -> torch.Tensor:
        """The task of each row [rows]: as the call says, else the one it answers for, else the only one there is."""
        if self.asked is None and self.task is None and self.tasks > 1:
            message = f"the adapter was trained for {self.tasks} tasks, and nothing says which one is asked for"
            raise errors.UsageError(message, hint=_WHICH)
        found = torch.full((rows,), self.task or 0) if self.asked is None else self.asked
        if not 0 <= int(found.min()) <= int(found.max()) < self.tasks:
            raise errors.UsageError(f"tasks are 0 to {self.tasks - 1}, not {int(found.min())} to {int(found.max())}")
        return found

    def layers(self) -> Iterator[tuple[torch.nn.Module, Layer, Layer]]:
        """(module, its own layer, the merged one) of every layer that is merged, whether the adapter is on or off."""
        for module, other in self._merged:
            here = Layer(module.weight, getattr(module, "bias", None))
            yield (module, other, here) if self._enabled else (module, here, other)

    def detach(self) -> None:
        """Take everything off; the backbone is then as if nothing had been attached."""
        self.enabled = False
        self._merged.clear()
        while self._handles:
            self._handles.pop().remove()

    def _exchange(self) -> None:
        self._merged = [(module, _exchanged(module, other)) for module, other in self._merged]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def _exchanged(module: Any, layer: Layer) -> Layer:
    """Give a module another weight and bias; return those that it had. The tensors themselves stay as they are."""
    had = Layer(module.weight, getattr(module, "bias", None))
    for name, tensor in (("weight", layer.weight), ("bias", layer.bias)):
        if name in module._parameters:
            module._parameters[name] = None if tensor is None else _parameter(tensor, module.weight.dtype)
    return had


def _parameter(tensor: torch.Tensor, dtype: torch.dtype) -> torch.nn.Parameter:
    if isinstance(tensor, torch.nn.Parameter):
        return tensor
    return torch.nn.Parameter(tensor.to(dtype), requires_grad=False)
