"""The two linear maps of a bottleneck: plain ones, and those that Compacter puts together from small factors."""

from collections.abc import Mapping

import torch
from torch.nn import functional

Given = Mapping[str, torch.Tensor]


class Projection:
    """x W^T + b, from `<side>_weight` and `<side>_bias`, or from Compacter's factors. `side`: `down` or `up`."""

    def __init__(self, side: str, given: Given, shared: Given) -> None:
        plain = given.get(f"{side}_weight")
        self.weight = _hypercomplex(side, given, shared) if plain is None else plain
        self.bias = given.get(f"{side}_bias" if plain is not None else f"{side}_b")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        return functional.linear(x, self.weight, self.bias)


def _hypercomplex(side: str, given: Given, shared: Given) -> torch.Tensor:
    """W [out, in] = (sum over i of R_i (x) M_i)^T, a parametrised hypercomplex multiplication (Zhang et al. 2021, arXiv
    2102.08597). R [p, p, p]: the rule, which all layers may share; M [p, in/p, out/p]: the matrices, often of low rank
    (Compacter: Mahabadi et al. 2021, arXiv 2106.04647)."""
    rule = _product(f"{side}_phm_rule", given)
    rule = _product("phm_rule", shared) if rule is None else rule
    matrices = _product(f"{side}_W", given)
    matrices = _product(f"W_{side}", shared) if matrices is None else matrices
    if rule is None or matrices is None:
        raise LookupError(f"the file lacks the factors of the {side}ward projection")
    if len(rule) != len(matrices):
        raise ValueError(f"the rule has {len(rule)} terms, the {side}ward projection {len(matrices)}")
    return torch.stack([torch.kron(r, m) for r, m in zip(rule, matrices, strict=True)]).sum(0).T.contiguous()


def _product(role: str, given: Given) -> torch.Tensor | None:
    """A stack of matrices, whole or in two halves."""
    left, right = given.get(f"{role}_left"), given.get(f"{role}_right")
    if left is not None and right is not None:
        return torch.bmm(left, right)
    return given.get(role)
