"""What the files of this room share: how a block is set, and the tensors that it takes."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from hub.runtime.attached import Attached
from hub.runtime.base import Backbone
from hub.spec.components import Component, Part

Tensors: TypeAlias = Mapping[str, torch.Tensor]
"""Key in the weights file -> tensor."""
Block: TypeAlias = Callable[[Attached, Backbone, Component, Part, Tensors], None]
"""Sets the forward hooks of one part, and notes what it uses (`Attached.add`)."""
