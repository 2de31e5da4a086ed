"""What a replay has to have the same to give the same bits."""

import platform
from importlib.metadata import version
from typing import Any

import torch
import transformers

import hub
from hub.runtime import predict
from hub.runtime.base import Backbone


def environment(backbone: Backbone) -> dict[str, Any]:
    """Versions, machine, threads, batches and number format of a run."""
    return {
        "adapter_hub": hub.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **{name.replace("-", "_"): version(name) for name in ("numpy", "scipy", "scikit-learn", "tokenizers")},
        "device": str(next(backbone.model.parameters()).device),
        "batches": f"rows of equal length, up to {predict.BATCH_TOKENS} tokens",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": backbone.dtype,
    }
