"""Methods that turn or stretch what a layer reads or says: W R, R W, diag(l) W."""

from __future__ import annotations

import math

import torch

from hub.runtime.merging.layer import Layer, Said, Tensors


def ia3(layer: Layer, own: Tensors, said: Said) -> Layer:
    """Outputs times l, or for feed-forward layers inputs times l (Liu et al. 2022, arXiv 2205.05638)."""
    vector = own["ia3_l"]
    inputs = vector.shape[0] == 1 and vector.dim() == 2
    if vector.dim() > 2:  # a convolution: [1, out, *1], or [1, in, *1] for inputs
        inputs = vector.shape[1] != layer.weight.shape[0]
        vector = vector if inputs else vector.transpose(0, 1)
    bias = layer.bias if inputs or layer.bias is None else layer.bias * vector.flatten()
    return Layer(layer.weight * vector, bias)


def oft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W R^T, R of orthogonal blocks: Cayley's map, or its Neumann series (Qiu et al. 2023, arXiv 2306.07280)."""
    upper = own["oft_R.weight"]
    size = (1 + math.isqrt(1 + 8 * upper.shape[1])) // 2
    if said.config.get("coft"):
        upper = _constrained(upper, size, float(said.config.get("eps", 6e-5)))
    turned = skew(upper, size)
    neumann = said.config.get("use_cayley_neumann", True)
    blocks = series(turned, int(said.config.get("num_cayley_neumann_terms", 5))) if neumann else cayley(turned)
    flat = layer.flat
    count = flat.shape[1] // size
    turn = torch.block_diag(*(blocks.expand(count, size, size) if len(blocks) == 1 else blocks))
    return layer.of(flat @ turn.T)


def boft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """diag(s) W R^T with R of one factor of orthogonal blocks (Liu et al. 2023, arXiv 2311.06243)."""
    if len(own["boft_R"]) > 1:
        raise ValueError("more than one butterfly factor, which PEFT itself runs on CUDA only")
    data = own["boft_R"][0]
    turn = torch.block_diag(*cayley(0.5 * (data - data.transpose(1, 2))))
    return layer.of((layer.flat @ turn.T) * own["boft_s"].view(-1, 1))


def hra(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W times a chain of Householder reflections (Yuan et al. 2024, arXiv 2405.17484)."""
    columns = own["hra_u"]
    flat = layer.flat
    if said.config.get("apply_GS"):
        basis = _orthonormal(columns)
        return layer.of(flat - 2 * (flat @ basis) @ basis.T)
    for column in (columns / columns.norm(dim=0)).T:
        flat = flat - 2 * torch.outer(flat @ column, column)
    return layer.of(flat)


def road(layer: Layer, own: Tensors, said: Said) -> Layer:
    """Outputs turned in pairs and stretched: R (W x + b) (Liao et al. 2024, arXiv 2409.00119)."""
    half = int(said.config.get("group_size", 64)) // 2
    straight, across = _columns(str(said.config.get("variant", "road_1")), own["road_theta"], own["road_alpha"], half)

    def turned(x: torch.Tensor) -> torch.Tensor:  # [out, anything]
        pairs = x.reshape(-1, 2, half, x.shape[1])
        swapped = torch.stack((-pairs[:, 1], pairs[:, 0]), dim=1).reshape(x.shape)
        return x * straight[:, None] + swapped * across[:, None]

    bias = None if layer.bias is None else turned(layer.bias[:, None])[:, 0]
    return Layer(turned(layer.weight), bias)


def _columns(variant: str, theta: torch.Tensor, alpha: torch.Tensor, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors of each output and of its partner; variants share them between partners, or not, or have two of each."""
    if variant == "road_4":
        first, second = theta.reshape(-1, 2, 2 * half).unbind(1)
        strong, weak = alpha.reshape(-1, 2, 2 * half).unbind(1)
        return (strong * first.cos()).flatten(), (weak * second.sin()).flatten()
    if variant == "road_1":
        theta, alpha = (x.reshape(-1, half).repeat_interleave(2, dim=0).flatten() for x in (theta, alpha))
    return alpha * theta.cos(), alpha * theta.sin()


def skew(upper: torch.Tensor, size: int) -> torch.Tensor:
    """Skew-symmetric matrices [count, size, size] of their halves above the diagonal [count, size (size - 1) / 2]."""
    rows, columns = torch.triu_indices(size, size, 1)
    found = upper.new_zeros(len(upper), size, size)
    found[:, rows, columns] = upper
    return found - found.transpose(1, 2)


def cayley(turned: torch.Tensor) -> torch.Tensor:
    """(1 - Q)(1 + Q)^-1 of skew-symmetric matrices."""
    one = torch.eye(turned.shape[-1]).expand_as(turned)
    return torch.linalg.solve(one + turned, one - turned, left=False)


def series(turned: torch.Tensor, terms: int) -> torch.Tensor:
    """(1 + Q)(1 - Q)^-1 by its first terms: 1 + 2 Q + 2 Q^2 + ... + Q^(terms - 1), as PEFT cuts the series."""
    found = torch.eye(turned.shape[-1]).repeat(len(turned), 1, 1)
    power = turned
    for at in range(1, terms):
        last = at == terms - 1 and at > 2
        found = found + (power if last else 2 * power)
        power = power @ turned
    return found


def _constrained(upper: torch.Tensor, size: int, eps: float) -> torch.Tensor:
    """Halves of matrices whose norm is at most eps / sqrt(count)."""
    norm = torch.norm(skew(upper, size), dim=(1, 2))[:, None]
    most = eps / math.sqrt(len(upper))
    return torch.where(norm <= most, upper, most * upper / norm)


def _orthonormal(columns: torch.Tensor) -> torch.Tensor:
    """Gram and Schmidt's, column by column: the order of the sums is PEFT's."""
    found: list[torch.Tensor] = []
    for column in columns.T[:, :, None]:
        for known in found:
            column = column - (known.T @ column) * known
        found.append(column / column.norm())
    return torch.cat(found, dim=1)
