"""Methods that take the base model's own weight apart, and put it together with some of the parts trained anew."""

from __future__ import annotations

import torch

from hub.runtime.merging.layer import Layer, Said, Tensors, check_places
from hub.runtime.merging.turning import cayley, series, skew


def deft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W - P Q^T W + s P R: what W says in some directions is taken out, and something else said there (DEFT; without R it is
    PaRa, Chen et al., ICLR 2025). Q is P where it is positive, or both are an orthonormal basis."""
    left = own["deft_P"]
    right = torch.relu(left)
    if said.config.get("decomposition_method", "relu") == "qr":
        left = right = torch.linalg.qr(left)[0]
    said_there = -(right.T @ layer.weight)
    if "deft_R" in own:
        alpha = said.config.get("alpha")
        said_there = said_there + own["deft_R"] * (float(alpha) / left.shape[1] if alpha else 1.0)
    return layer.plus(left @ said_there)


def osf(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W with its weakest singular directions replaced by trained ones (OSF: Nayak et al. 2025, arXiv 2504.07097)."""
    first, strength, second = (own[f"osf_svd_params.{name}"] for name in ("U_low", "S_low", "V_low"))
    u, s, vh = torch.linalg.svd(layer.weight, full_matrices=False)
    kept = len(s) - len(strength)
    if kept < 0:
        raise ValueError(f"it has {len(strength)} directions, the layer {len(s)}")
    return layer.plus((first * strength) @ second - (u[:, kept:] * s[kept:]) @ vh[kept:])


def psoft(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + B (R - 1) A with B A the strongest part of W, and R a turn within it, stretched on both sides (PSOFT: Wu et al., 2025)."""
    config = said.config
    turn = _turn(own, said)
    rank = len(turn)
    u, s, vh = _strongest(layer.weight, rank, said)
    scale = float(config.get("psoft_alpha", 32)) / rank
    s = s / scale
    if config.get("ab_svd_init", "psoft_init") == "pissa_init":
        down, up = s.sqrt()[:, None] * vh, u * s.sqrt()
    else:
        down, up = vh, u * s
    return layer.plus(up @ (turn - torch.eye(rank)) @ down * scale)


def tinylora(layer: Layer, own: Tensors, said: Said) -> Layer:
    """W + B (sum of v_i P_i) A: B and A are W's own strongest directions, P drawn from a seed, v is all that is trained
    (TinyLoRA: Morris et al. 2026). Layers may share one v: the neighbours in the model's own order."""
    down, up = own["tinylora_A"], own["tinylora_B"]
    at, count = said.adapted.index(said.module), len(said.adapted)
    groups = max(1, round(count * (1.0 - float(said.config.get("weight_tying", 0.0)))))
    group = [min(number // max(1, count // groups), groups - 1) for number in range(count)]
    known = sum(role.startswith("tinylora_v.") for role in own)
    if known != len(set(group)):
        raise ValueError(
            f"there are {known} tinylora_v, and weight_tying shares {len(set(group))} among {count} layers"
        )
    vector = own[f"tinylora_v.{group[at]}"]
    drawn = own.get("tinylora_P")
    rank = len(down)
    if drawn is None:
        generator = torch.Generator().manual_seed(int(said.config.get("projection_seed", 42)) + at)
        drawn = torch.normal(0.0, rank**-0.5, (len(vector), rank, rank), generator=generator)
    return layer.plus(up @ torch.einsum("i,ijk->jk", vector, drawn) @ down)


def frod(layer: Layer, own: Tensors, said: Said) -> Layer:
    """U (S + diag(l)) V^T instead of W = U diag(l0) V^T: V is shared by the layers of one role, S has few numbers at places that
    the file names (FRoD in PEFT 0.21)."""
    role = _role_of(said.module)
    if f"frod_V.{role}" not in own:
        raise LookupError(f"the file leaves out frod_V.{role} (save_projection=False)")
    idle = {name.partition(".")[2] for name in own if name.startswith("frod_V.")} - set(map(_role_of, said.adapted))
    if idle:
        raise ValueError(f"frod_V.{min(idle)} is of no adapted layer")
    shared, places = own[f"frod_V.{role}"], own[f"frod_s_indices.{role}"].long()
    strength, values = own["frod_lambda_l"], own["frod_lambda_s_values"]
    size = len(strength)
    if own[f"frod_s_size.{role}"].tolist() != [size, size] or shared.shape != (size, size):
        raise ValueError(f"frod_V.{role} and frod_s_size.{role} are not those of a layer that reads {size} numbers")
    check_places(places, size, f"frod_s_indices.{role}")
    if len(places.T) != len(values):
        raise ValueError(f"frod_s_indices.{role} has {len(places.T)} places for {len(values)} numbers")
    sparse = torch.zeros(size, size).index_put((places[0], places[1]), values, accumulate=True)
    basis = _against(layer.weight.double(), shared.double())
    norms = basis.norm(dim=0)
    basis = torch.where(norms > 1e-12, basis / norms.clamp(min=1e-300), 0.0).float()
    return layer.of(basis @ (sparse + torch.diag(strength)) @ shared.T)


def _against(weight: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """W V^-T."""
    try:
        return torch.linalg.solve(shared, weight.T).T
    except RuntimeError:
        return weight @ torch.linalg.pinv(shared, rtol=1e-6).T


def _role_of(path: str) -> str:
    """What a layer does in its block, by the end of its path: PEFT's names for what is shared."""
    parts = path.split(".")
    if len(parts) == 1 or parts[-2].isdigit():
        return parts[-1]
    role = f"{parts[-2]}_{parts[-1]}"
    return "attention_output" if role == "output_dense" and parts[-3:-2] == ["attention"] else role


def _turn(own: Tensors, said: Said) -> torch.Tensor:
    """PSOFT's [r, r]: orthogonal by Cayley's map, or as it stands in the file; rows and columns stretched."""
    weight = own["psoft_R.weight"]
    if weight.dim() == 1:
        rank = (1 + round((1 + 8 * len(weight)) ** 0.5)) // 2
        turned = skew(weight[None], rank)[0]
        weight = _series(turned, said) if said.config.get("use_cayley_neumann") else cayley(-turned)
    stretched = weight * own["psoft_R.vector_b"][:, None] if "psoft_R.vector_b" in own else weight
    return stretched * own["psoft_R.vector_a"] if "psoft_R.vector_a" in own else stretched


def _series(turned: torch.Tensor, said: Said) -> torch.Tensor:
    """The turn by the first terms of its series, which PEFT ends here as if there were at least four; Q no longer than
    `cayley_neumann_eps`."""
    most = said.config.get("cayley_neumann_eps")
    norm = torch.linalg.norm(turned)
    if most is not None and norm > float(most):
        turned = turned * (float(most) / (norm + 1e-12))
    terms = int(said.config.get("num_cayley_neumann_terms", 5))
    return series(turned[None], max(terms, 4) if terms > 2 else terms)[0]


def _strongest(weight: torch.Tensor, rank: int, said: Said) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first singular directions: exactly, or by a drawn projection (`psoft_svd`)."""
    if said.config.get("psoft_svd", "full") == "lowrank":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(said.config.get("random_seed", 0)))
            u, s, v = torch.svd_lowrank(weight, q=rank, niter=int(said.config.get("psoft_svd_lowrank_niter", 10)))
        return u[:, :rank], s[:rank], v[:, :rank].T
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    return u[:, :rank], s[:rank], vh[:rank]
