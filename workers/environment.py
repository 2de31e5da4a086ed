"""What a replay has to have the same to give the same bits."""

import platform
from typing import Any

import torch
import transformers

import hub
from hub.runtime.base import Backbone


def environment(backbone: Backbone) -> dict[str, Any]:
    """Versions, machine, threads and number format of a run."""
    return {
        "adapter_hub": hub.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": backbone.dtype,
    }
