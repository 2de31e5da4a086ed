"""Methods that add a product to the weight: W + s * (something of low rank, or of few numbers)."""

from __future__ import annotations

import math

import torch

from hub.runtime.merging.layer import Layer, Said, Tensors, check_places


def lora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s B A (Hu et al. 2021, arXiv 2106.09685), and DoRA's magnitude over it (Liu et al. 2024, arXiv 2402.09353)."""
    down, up = own["A"], own["B"]
    weight = layer.weight + _product(up, down, layer.weight.shape) * said.scale
    magnitude = own.get("lora_magnitude_vector")
    if magnitude is not None:
        norm = torch.linalg.norm(weight.flatten(1), dim=1)
        weight = weight * (magnitude.flatten() / norm).view(-1, *[1] * (weight.dim() - 1))
    bias = own.get("lora_B.bias")
    return Layer(weight, layer.bias if bias is None else _sum(layer.bias, bias * said.scale))


def lora_embedding(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s (B A)^T: of a table, rows are inputs. DoRA's norm goes along the rows' numbers, as in a linear layer's transpose."""
    weight = layer.weight + (own["lora_embedding_B"] @ own["lora_embedding_A"]).T * said.scale
    magnitude = own.get("lora_magnitude_vector")
    if magnitude is not None:
        weight = weight * (magnitude / torch.linalg.norm(weight, dim=0))
    return Layer(weight, layer.bias)


def adalora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s B diag(E) A / rank (Zhang et al. 2023, arXiv 2303.10512); PEFT divides by the rank it began with."""
    first = float(said.config.get("init_r") or own["lora_A"].shape[0])
    alpha = float(said.config.get("lora_alpha", 8))
    delta = own["lora_B"] @ (own["lora_A"] * own["lora_E"]) * (alpha if alpha > 0 else first)
    return layer.plus(delta / (first + 1e-5))


def loha(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s (w1a w1b) * (w2a w2b), the Hadamard product of two low-rank ones (Hyeon-Woo et al. 2021, arXiv 2108.06098)."""
    if "hada_t1" in own:
        one, two = (
            torch.einsum("ijkl,jr,ip->prkl", own[f"hada_t{n}"], own[f"hada_w{n}_b"], own[f"hada_w{n}_a"])
            for n in (1, 2)
        )
    else:
        one, two = (own[f"hada_w{n}_a"] @ own[f"hada_w{n}_b"] for n in (1, 2))
    return layer.plus((one * two) * said.scale)


def lokr(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s (w1 (x) w2), the Kronecker product of two factors, whole or in halves (LyCORIS, arXiv 2309.14859)."""
    first = own["lokr_w1"] if "lokr_w1" in own else own["lokr_w1_a"] @ own["lokr_w1_b"]
    if "lokr_w2" in own:
        second = own["lokr_w2"]
    elif "lokr_t2" in own:
        second = torch.einsum("ijkl,ip,jr->prkl", own["lokr_t2"], own["lokr_w2_a"], own["lokr_w2_b"])
    else:
        second = own["lokr_w2_a"] @ own["lokr_w2_b"]
    if second.dim() == 4:
        first = first[:, :, None, None]
    return layer.plus(torch.kron(first, second.contiguous()) * said.scale)


def vera(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + diag(b) B diag(d) A with A and B drawn once and shared (Kopiczko et al. 2023, arXiv 2310.11454)."""
    out, width = layer.weight.shape
    down, up = own.get("vera_A"), own.get("vera_B")
    if down is None or up is None:  # the file leaves them out: everybody draws the same
        down, up = _drawn(said, own["vera_lambda_d"].shape[0])
    scaled = (own["vera_lambda_b"][:, None] * up[:out]) @ (own["vera_lambda_d"][:, None] * down[:, :width])
    return layer.plus(scaled)


def randlora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s B diag(lambda) A diag(gamma), summed over random bases that are shared (Albert et al. 2025, arXiv 2502.00987).
    What is scaled has the layer's smaller width, so the product may come out transposed."""
    out, width = layer.weight.shape
    count = own["randlora_lambda"].shape[1]
    if "randlora_A" not in own:
        raise LookupError("the file leaves the random bases out (save_projection=False)")
    small = own["randlora_A"][:, :count, : min(out, width)]
    large = own["randlora_B"][: max(out, width), :count]
    scaled = own["randlora_lambda"][:, :, None] * small * own["randlora_gamma"][None]
    product = large.flatten(1) @ scaled.flatten(end_dim=1)  # [wide, narrow]
    scale = float(said.config.get("randlora_alpha", 640)) / len(own["randlora_lambda"])
    return layer.plus((product if width <= out else product.T) * scale)


def vblora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + B A, both put together from a bank of vectors (Li et al. 2024, arXiv 2405.15179)."""
    down, up = (_from_bank(own, f"vblora_logits_{half}", int(said.config.get("topk", 2))) for half in "AB")
    return layer.plus(up.transpose(1, 2).reshape(-1, up.shape[1]) @ down.reshape(len(down), -1))


def delora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + B diag(lambda / (r |a||b|)) A, per input as strong as W is there (Bini et al. 2025, arXiv 2503.18225)."""
    down, up = own["delora_A"], own["delora_B"]
    norms = down.norm(dim=1).clamp(min=1e-4) * up.norm(dim=0).clamp(min=1e-4)
    strength = own.get("delora_w_norm")
    strength = layer.weight.norm(dim=0) if strength is None else strength
    return layer.plus((up * (own["delora_lambda"] / len(down) / norms)) @ down * strength)


def gralora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s * a product of its own for each of k x k blocks (Jung et al. 2025, arXiv 2505.20355), and a general one."""
    down, up = own["gralora_A"], own["gralora_B"]  # [k, in/k, r], [k, r, out/k]
    count, narrow, rank = down.shape
    each = rank // count
    pieces = down.reshape(count, narrow, count, each)  # block n of the inputs, piece j of its rank
    spread = up.reshape(count, count, each, -1)  # block j of the outputs, piece n of its rank
    delta = torch.einsum("nijr,jnro->nijo", pieces, spread).reshape(count * narrow, -1).T
    general = own.get("gralora_A_general.weight")
    hybrid = 0 if general is None else len(general)
    if general is not None:
        delta = delta + own["gralora_B_general.weight"] @ general
    return layer.plus(delta * (float(said.config.get("alpha", 64)) / (rank + hybrid)))


def miss(layer: Layer, own: Tensors, said: Said) -> Layer:
    """One small block repeated along the inputs (MiSS and Bone: Kang 2024, arXiv 2409.15371); with the initialisation `bat`
    the block also multiplies what is there."""
    block = own.get("miss_block", own.get("bone_block"))
    assert block is not None, "the form of this method has one"
    out, width = layer.weight.shape
    if block.dim() == 3:  # bat: [out/r, r, r]
        size = block.shape[-1]
        tiles = layer.weight.reshape(out // size, size, width // size, size).permute(2, 0, 1, 3)
        moved = tiles @ block + block
        return layer.plus(moved.permute(1, 2, 0, 3))
    rank = len(block)
    full = block.repeat(1, out // block.shape[1])
    return layer.plus(full.T.repeat(1, math.ceil(width / rank))[:, :width])


def fourierft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + s Re(F^-1 of a sparse spectrum) (Gao et al. 2024, arXiv 2405.03003); its places are drawn from a seed."""
    spectrum = own["fourierft_spectrum"]
    out, width = layer.weight.shape
    seed = int(said.config.get("random_loc_seed") or 777)
    places = torch.randperm(out * width, generator=torch.Generator().manual_seed(seed))[: len(spectrum)]
    dense = torch.zeros(out, width)
    dense[places // width, places % width] = spectrum
    return layer.plus(torch.fft.ifft2(dense).real * float(said.config.get("scaling", 150.0)))


def shira(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W with some of its numbers moved (Bhardwaj et al. 2024, arXiv 2406.13175)."""
    rows, columns = own["shira_indices"].long()
    check_places(rows, layer.weight.shape[0])
    check_places(columns, layer.weight.shape[1])
    return layer.of(layer.weight.index_put((rows, columns), own["shira_weight"], accumulate=True))


def c3a(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + a matrix of circulant blocks (Chen et al. 2024, arXiv 2407.19342)."""
    kernel = own["c3a_kernel"]  # [out/b, in/b, b]
    size = kernel.shape[-1]
    places = (torch.arange(size) - torch.arange(size)[:, None]) % size
    dense = kernel[..., places].permute(0, 2, 1, 3)
    return layer.plus(dense / layer.weight.shape[1])


def _from_bank(own: Tensors, role: str, count: int) -> torch.Tensor:
    """Vectors [..., v]: the mean of the bank's `count` likeliest, by their weights. A file may keep those alone."""
    indices = own.get(f"{role}_topk_indices")
    if indices is None:
        logits, indices = own[role].topk(count, dim=-1)
        weights = logits.softmax(-1)
    else:  # weights but for the last one: they sum to one
        known = own[f"{role}_topk_weights"]
        weights = torch.cat([known, 1 - known.sum(-1, keepdim=True)], dim=-1)
    check_places(indices, len(own["vblora_vector_bank"]))
    return (weights.unsqueeze(-1) * own["vblora_vector_bank"][indices.long()]).sum(-2)


def _product(up: torch.Tensor, down: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """B A in a weight's shape: of a convolution A has the kernel, and B is one wide."""
    return (up.flatten(1) @ down.flatten(1)).reshape(shape)


def _sum(first: torch.Tensor | None, second: torch.Tensor) -> torch.Tensor:
    return second if first is None else first + second


def _drawn(said: Said, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """VeRA's shared matrices as PEFT draws them: Kaiming's uniform distribution from one generator, A before B."""
    generator = torch.Generator().manual_seed(int(said.config.get("projection_prng_key") or 0))
    down, up = torch.empty(rank, said.wide), torch.empty(said.high, rank)
    for tensor in (down, up):
        torch.nn.init.kaiming_uniform_(tensor, a=0.0, generator=generator)
    return down, up
