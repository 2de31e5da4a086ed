"""Methods of PEFT's later editions whose change of a weight needs nothing but the weight's shape and the file's numbers."""

from __future__ import annotations

import torch
from transformers.activations import ACT2FN

from hub.runtime.merging.layer import Layer, Said, Tensors, check_places


def beft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """b + something: the bias alone is trained (Ben Zaken et al. 2021, arXiv 2106.10199), at chosen layers."""
    bias = own["beft_bias"].flatten()
    return Layer(layer.weight, bias if layer.bias is None else layer.bias + bias)


def hira(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + W * (B A), number by number (HiRA: Huang et al., ICLR 2025); of a convolution A has the kernel."""
    factor = own["hira_B"].flatten(1) @ own["hira_A"].flatten(1)
    return layer.plus(layer.weight * factor.reshape(layer.weight.shape))


def hira_embedding(layer: Layer, own: Tensors, said: Said) -> Layer:
    """The same over a table, whose rows are the inputs."""
    return layer.plus(layer.weight * (own["hira_embedding_B"] @ own["hira_embedding_A"]).T)


def glora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + W * A + B and b + b * D + E + W C (Chavan et al. 2023, arXiv 2306.07967). Each is a product, a vector, one number, or
    nothing; without a bias there are no C, D and E."""
    across, beside = _path(own, "glora_A"), _path(own, "glora_B")
    weight = layer.weight + layer.weight * across + beside
    if layer.bias is None:
        return Layer(weight, None)
    times, plus = (_path(own, name) for name in ("glora_D", "glora_E"))
    if any(path.dim() > 1 or len(path.flatten()) not in (1, len(layer.bias)) for path in (times, plus)):
        raise ValueError(f"glora_D and glora_E are one number, or the {len(layer.bias)} of the bias")
    return Layer(weight, layer.bias + layer.bias * times + plus + (layer.weight @ _path(own, "glora_C")).flatten())


def peanut(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s f(W), f a small network over the weight's own rows (PEANuT: Zhong et al. 2024, arXiv 2410.01870): what an encoder
    gives is added again behind the decoder of the same depth."""
    act = ACT2FN[str(said.config.get("act_fn", "relu"))]
    depth = int(said.config.get("depth", 0))
    if depth != sum(role.startswith("peanut_encoders.") for role in own):
        raise ValueError(f"the configuration says depth {depth}, the file has another number of peanut_encoders")
    states = act(layer.weight.T @ own["peanut_A.weight"].T)  # [in, r]
    known = []
    for at in range(depth):
        known.append(states)
        states = act(states @ own[f"peanut_encoders.{at}.weight"].T)
    for at in range(depth):
        states = act(states @ own[f"peanut_decoders.{at}.weight"].T) + known.pop()
    delta = states @ own["peanut_B.weight"].T * float(said.config.get("scaling", 1.0))
    return layer.plus(delta.T)


def pvera(layer: Layer, own: Tensors, said: Said) -> Layer:
    """VeRA of which the mean is taken: one half of the numbers is how far training strayed from it (PEFT's PVeRA)."""
    out, width = layer.weight.shape
    scale = own["pvera_lambda_d"].chunk(2)[0]
    down, up = own.get("pvera_A"), own.get("pvera_B")
    if down is None or up is None:  # the file leaves them out: everybody draws the same, A before B
        generator = torch.Generator().manual_seed(int(said.config.get("projection_prng_key") or 0))
        down, up = torch.empty(2 * len(scale), said.wide), torch.empty(said.high, len(scale))
        for tensor in (down, up):
            torch.nn.init.kaiming_uniform_(tensor, generator=generator)
    mean = down[: len(scale), :width]
    return layer.plus((own["pvera_lambda_b"][:, None] * up[:out]) @ (scale[:, None] * mean))


def supertuning(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W with its strongest numbers moved, and perhaps a LoRA beside (SuperTuning in PEFT 0.21). Where the file does not say which
    they are, they are found as they were in training."""
    values = own["supertuning_values"]
    places = own.get("supertuning_indices")
    if places is None:
        largest = bool(said.config.get("select_top", True))
        places = layer.weight.abs().flatten().topk(len(values), largest=largest).indices
    check_places(places, layer.weight.numel(), "supertuning_indices")
    found = layer.of(layer.weight.flatten().scatter_add(0, places.long(), values))
    if "supertuning_lora_A.weight" not in own:
        return found
    down, up = own["supertuning_lora_A.weight"], own["supertuning_lora_B.weight"]
    return found.plus(up @ down * (float(said.config.get("lora_alpha", 8)) / len(down)))


def unilora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + B A, every number of both taken from one short vector (Uni-LoRA: Li et al. 2025, arXiv 2506.00799)."""
    vector = own["unilora_theta_d"]
    halves = []
    for half in "AB":
        places = own[f"unilora_indices_{half}"]
        check_places(places, len(vector), f"unilora_indices_{half}")
        halves.append(vector[places.long()] * own[f"unilora_scales_{half}"])
    down, up = halves
    return layer.plus(up @ down)


def waveft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s * a matrix whose Haar wavelets have few numbers (WaveFT: Bilican et al. 2025, arXiv 2505.12532); their places are
    drawn from a seed. `use_idwt` off: the numbers themselves."""
    spectrum = own["waveft_spectrum"]
    out, width = layer.weight.shape
    generator = torch.Generator().manual_seed(int(said.config.get("random_loc_seed", 777)))
    places = torch.randperm(out * width, generator=generator)[: len(spectrum)]
    dense = torch.zeros(out + out % 2, width + width % 2)
    dense[places // width, places % width] = spectrum
    if said.config.get("use_idwt", True):
        dense = _haar(dense)
    return layer.plus(dense[:out, :width] * float(said.config.get("scaling", 25.0)))


def _haar(bands: torch.Tensor) -> torch.Tensor:
    """What four bands of Haar's wavelets are made of, each a quarter: mean, differences down, across, and both."""
    top, bottom = bands.chunk(2, dim=0)
    (mean, down), (across, both) = top.chunk(2, dim=1), bottom.chunk(2, dim=1)
    rows = [
        torch.stack([mean + a * down + b * across + a * b * both for b in (1, -1)], dim=-1).flatten(1) for a in (1, -1)
    ]
    return torch.stack(rows, dim=1).flatten(0, 1) / 2


def _path(own: Tensors, name: str) -> torch.Tensor:
    """One of GLoRA's paths as a matrix, a vector or a number."""
    if f"{name}.Xd" in own:
        return own[f"{name}.Xd"] @ own[f"{name}.Xu"]
    return own[f"{name}.X"] if f"{name}.X" in own else own[f"{name}.zeros"]
