"""Run in an environment of its own: lm-evaluation-harness on local rows. `ask.py BASE ADAPTER TEXTS CHOICES LONGEST` prints JSON."""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import yaml

base, adapter, texts, choices, longest = sys.argv[1:]
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    os.environ["HF_HOME"] = str(folder / "cache")
    import lm_eval
    from lm_eval.tasks import TaskManager

    common = {"dataset_path": "json", "test_split": "test"}
    tasks = [
        common | {
            "task": "ours_choices", "output_type": "multiple_choice", "doc_to_text": "text", "doc_to_choice": "ways", "doc_to_target": "right",
            "dataset_kwargs": {"data_files": {"test": choices}},
            "metric_list": [{"metric": metric} for metric in ("acc", "acc_norm", "acc_bytes")],
        },
        common | {
            "task": "ours_texts", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "text",
            "dataset_kwargs": {"data_files": {"test": texts}},
            "metric_list": [{"metric": metric} for metric in ("bits_per_byte", "byte_perplexity")],
        },
    ]  # fmt: skip
    for task in tasks:
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    found = {}
    # without its cache: that takes two rows for one whose contexts and continuations are cut elsewhere in the same text
    for called, more in (("adapted", f",peft={adapter}"), ("plain", "")):
        results = lm_eval.simple_evaluate(
            model="hf", model_args=f"pretrained={base}{more},dtype=float32,max_length={longest},logits_cache=False",
            tasks=["ours_choices", "ours_texts"], device="cpu", batch_size=4, bootstrap_iters=0, log_samples=False,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        )["results"]  # fmt: skip
        found[called] = {key.split(",")[0]: value for result in results.values() for key, value in result.items()}
sys.stdout.write("\n" + json.dumps(found, default=str))
