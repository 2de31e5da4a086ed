"""LoRA files without a configuration: kohya's and diffusers', told apart by their keys."""

import pytest

from hub.spec import base_model, compatibility, validation
from hub.spec.snapshot import MemorySnapshot
from tests.specimens.spec import builders as make

UNET = {
    "down_blocks.0.attentions.0.proj_in.weight": (8, 8), "down_blocks.0.attentions.0.to_q.weight": (8, 8),
    "down_blocks.0.resnets.0.conv1.weight": (16, 8, 3, 3), "mid_block.attentions.0.to_k.weight": (8, 12),
}  # fmt: skip


def unet(**sizes):
    return base_model.from_leaves(make.leaves(UNET | sizes), {"_class_name": "UNet2DConditionModel"})


def kohya(rank=4, **more):
    table = {}
    for path, (out, width, *kernel) in UNET.items():
        key = "lora_unet_" + path.removesuffix(".weight").replace(".", "_")
        table |= {
            f"{key}.lora_down.weight": (rank, width, *kernel), f"{key}.lora_up.weight": (out, rank, *(1 for _ in kernel)),
            f"{key}.alpha": (),
        }  # fmt: skip
    return table | more


def diffusers(down="lora_A.weight", up="lora_B.weight", rank=4):
    table = {}
    for path, (out, width, *kernel) in UNET.items():
        key = "unet." + path.removesuffix(".weight")
        table |= {f"{key}.{down}": (rank, width, *kernel), f"{key}.{up}": (out, rank, *(1 for _ in kernel))}
    return table


def processors(rank=4):
    """Attention processors of the first versions of diffusers."""
    return {
        f"unet.down_blocks.0.attentions.0.processor.to_q_lora.{half}.weight": shape
        for half, shape in (("down", (rank, 8)), ("up", (8, rank)))
    }


def read(table, base=None, name="pytorch_lora_weights.safetensors"):
    return validation.inspect(MemorySnapshot({name: make.safetensors(table)}), base, to_run=False)


FILES = {
    "kohya": (kohya(), "kohya"), "diffusers": (diffusers(), "diffusers"),
    "diffusers of older versions": (diffusers("lora.down.weight", "lora.up.weight"), "diffusers"),
    "attention processors": (processors(), "diffusers"),
    "kohya's LoHa": (
        {f"lora_unet_mid_block_attentions_0_to_k.{role}": shape for role, shape in (
            ("hada_w1_a", (8, 2)), ("hada_w1_b", (2, 12)), ("hada_w2_a", (8, 2)), ("hada_w2_b", (2, 12)), ("alpha", ()))}, "kohya"),
    "kohya's LoKr": (
        {f"lora_unet_mid_block_attentions_0_to_k.{role}": shape for role, shape in (
            ("lokr_w1", (2, 3)), ("lokr_w2", (4, 4)), ("alpha", ()))}, "kohya"),
    "kohya's DoRA": (
        {f"lora_unet_mid_block_attentions_0_to_k.{role}": shape for role, shape in (
            ("lora_down.weight", (2, 12)), ("lora_up.weight", (8, 2)), ("dora_scale", (1, 12)), ("alpha", ()))}, "kohya"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_its_dialect_named(name):
    table, dialect = FILES[name]
    for base in (None, unet()):
        found = read(table, base)
        assert found.ok, [str(problem) for problem in found.problems]
        (component,) = found.components
        assert component.library == dialect
        assert component.parameters == sum(
            make.math.prod(shape) for key, shape in table.items() if not key.endswith(".alpha")
        )
        assert any(f"does not run {dialect} files" in reason for reason in component.unrun)


@pytest.mark.parametrize("name", FILES)
def test_it_fits_the_base_that_has_its_modules_and_no_other(name):
    component = read(FILES[name][0], unet()).components[0]
    assert compatibility.check([component], unet()).level == "shape_only"
    assert compatibility.check([component], make.base()).level == "incompatible"


def test_underscores_are_resolved_against_the_modules_of_the_base():
    component = read(kohya(), unet()).components[0]
    assert {part.module for part in component.parts} == {path.removesuffix(".weight") for path in UNET}
    assert component.rank == 4


def test_a_convolution_keeps_its_kernel():
    kinds = {part.module: part.kind for part in read(diffusers(), unet()).components[0].parts}
    assert kinds["down_blocks.0.resnets.0.conv1"] == "lora.conv"


def test_a_module_that_the_base_does_not_have_is_named():
    table = kohya() | {
        "lora_unet_up_blocks_9_x.lora_down.weight": (4, 8),
        "lora_unet_up_blocks_9_x.lora_up.weight": (8, 4),
    }
    (told,) = read(table, unet()).problems
    assert "lora_unet_up_blocks_9_x.lora" in told.message
    assert read(table).ok


def test_a_wrong_shape_is_told_with_both():
    (told,) = read(kohya(), unet(**{"mid_block.attentions.0.to_k.weight": (8, 20)})).problems
    assert "[4, 12]" in told.message and "[4, 20]" in told.message


def test_a_missing_half_is_told():
    table = {key: shape for key, shape in kohya().items() if not key.endswith("to_k.lora_up.weight")}
    assert "lora_up.weight' is missing" in read(table, unet()).problems[0].message


def test_keys_of_both_worlds_are_no_dialect():
    found = read(kohya() | {"model.layers.0.weight": (2, 2)})
    assert {problem.code for problem in found.problems} == {"config.missing", "files.unused"}


def test_two_in_one_folder_are_told_apart_by_nobody():
    files = {"a.safetensors": make.safetensors(kohya()), "b.safetensors": make.safetensors(diffusers())}
    found = validation.inspect(MemorySnapshot(files), None, to_run=False)
    assert [problem.code for problem in found.problems] == ["config.components"]


def test_such_a_file_is_not_run_here():
    found = validation.inspect(MemorySnapshot({"x.safetensors": make.safetensors(kohya())}), None)
    assert [problem.code for problem in found.problems] == ["method.unsupported"]
