"""The gradient of K stacks of GRU layers side by side, written out: what autograd finds, in less time.

Autograd walks some thirty operations back per step and layer, most of them into memory of their own. Here a step keeps
the five arrays that its gradient needs, the way back is ten operations, and products add to the weights' gradients as
they are made. (One large product over all steps in the end takes longer: nothing of it is in cache any more; and arrays
over all steps cost more to be given by the system, page after page, than to be filled.)

Notation as in models/krnn.py: N windows, T steps, X numbers of input, H units, K GRUs. Everything of the gate n is
twice as large there, as tanh a is 2 σ(2a) − 1.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_sigmoid_backward = torch.ops.aten.sigmoid_backward


class LayerWeights(NamedTuple):
    """Of one layer; r and z side by side in `gates`. The first layer's inputs end in a 1 that carries its biases."""

    gates: Tensor
    """[K, X, 2H]"""
    new: Tensor
    """[K, X, H]"""
    hidden_gates: Tensor
    """[K, H, 2H]"""
    hidden_new: Tensor
    """[K, H, H]"""
    hidden_new_bias: Tensor
    """[K, 1, H]"""
    gates_bias: Tensor
    """[K, 1, 2H]; of the first layer not looked at, as below."""
    new_bias: Tensor
    """[K, 1, H]"""


def last_states(x: Tensor, layers: Sequence[LayerWeights]) -> Tensor:
    """Return every GRU's last state in its last layer, [K, N, H], of inputs [T, N, X] that need no gradient."""
    out: Tensor = _Stack.apply(x, *(one for layer in layers for one in layer))  # type: ignore[no-untyped-call]
    return out


class _Step(NamedTuple):
    """What the gradient of one step of one layer needs: its inputs [K, N, X], r and z [K, N, 2H], and [K, N, H] each:
    what the state is to n, σ(2a) of which n is 2 σ − 1, the state before less n, and the state before."""

    seen: Tensor
    gates: Tensor
    recurrent: Tensor
    half: Tensor
    gap: Tensor
    before: Tensor


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Tensor) -> Tensor:
        layers = _layers(given)
        k, size = layers[0].hidden_new.shape[:2]
        states = [x.new_zeros(k, x.shape[1], size) for _ in layers]
        kept: list[Tensor] = []
        for seen in x.expand(k, -1, -1, -1).unbind(1):
            for place, weights in enumerate(layers):
                state = states[place]
                if place:
                    seen = states[place - 1]
                    gates = torch.baddbmm(weights.gates_bias, seen, weights.gates)
                    half = torch.baddbmm(weights.new_bias, seen, weights.new)
                else:
                    gates, half = torch.bmm(seen, weights.gates), torch.bmm(seen, weights.new)
                gates.baddbmm_(state, weights.hidden_gates).sigmoid_()
                recurrent = torch.baddbmm(weights.hidden_new_bias, state, weights.hidden_new)
                half.addcmul_(gates[..., :size], recurrent).sigmoid_()
                new = (half * 2).sub_(1)
                gap = state - new
                kept.extend(_Step(seen, gates, recurrent, half, gap, state))
                states[place] = new.addcmul_(gates[..., size:], gap)
        ctx.save_for_backward(*given, *kept)
        ctx.given = len(given)
        return states[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, came: Tensor) -> Any:
        layers, kept = _layers(ctx.saved_tensors[: ctx.given]), ctx.saved_tensors[ctx.given :]
        # In one piece, all of them: a product in place takes several times as long otherwise.
        found = [LayerWeights(*(one.new_zeros(one.shape) for one in weights)) for weights in layers]
        came = came.contiguous()
        carried = [*(torch.zeros_like(came) for _ in layers[1:]), came.clone()]
        # Where a step's parts go: written over, step after step.
        to_gates, to_new = torch.empty_like(kept[1]), torch.empty_like(came)
        width = len(_Step._fields)
        for number in reversed(range(len(kept) // width)):
            place = number % len(layers)
            step = _Step(*kept[number * width : (number + 1) * width])
            to_recurrent, left = _through(step, carried[place], to_gates, to_new)
            _add(found[place], step, to_gates, to_new, to_recurrent, has_bias=place > 0)
            weights = layers[place]
            left.baddbmm_(to_gates, weights.hidden_gates.transpose(1, 2))
            carried[place] = left.baddbmm_(to_recurrent, weights.hidden_new.transpose(1, 2))
            if place:
                below = carried[place - 1].baddbmm_(to_gates, weights.gates.transpose(1, 2))
                below.baddbmm_(to_new, weights.new.transpose(1, 2))
        return None, *(one for sums in found for one in sums)


def _through(step: _Step, came: Tensor, to_gates: Tensor, to_new: Tensor) -> tuple[Tensor, Tensor]:
    """Write what a state's gradient, [K, N, H], means before r and z were squashed, and n; return what it means to what
    the state before was to n, and what goes on to the state before by z alone."""
    size = came.shape[-1]
    torch.mul(came, step.gap, out=to_gates[..., size:])
    left = came * step.gates[..., size:]
    torch.sub(came, left, out=to_new).mul_(2)
    _sigmoid_backward.grad_input(to_new, step.half, grad_input=to_new)
    torch.mul(to_new, step.recurrent, out=to_gates[..., :size])
    _sigmoid_backward.grad_input(to_gates, step.gates, grad_input=to_gates)
    return to_new * step.gates[..., :size], left


def _add(
    found: LayerWeights, step: _Step, to_gates: Tensor, to_new: Tensor, to_recurrent: Tensor, *, has_bias: bool
) -> None:
    """Add what a step means to the weights."""
    seen, before = step.seen.transpose(1, 2), step.before.transpose(1, 2)
    found.hidden_gates.baddbmm_(before, to_gates)
    found.hidden_new.baddbmm_(before, to_recurrent)
    found.hidden_new_bias.add_(to_recurrent.sum(1, keepdim=True))
    if has_bias:
        found.gates.baddbmm_(seen, to_gates)
        found.new.baddbmm_(seen, to_new)
        found.gates_bias.add_(to_gates.sum(1, keepdim=True))
        found.new_bias.add_(to_new.sum(1, keepdim=True))
    else:  # alike for all GRUs, which a product in place would copy
        found.gates.add_(torch.bmm(seen, to_gates))
        found.new.add_(torch.bmm(seen, to_new))


def _layers(given: Sequence[Tensor]) -> list[LayerWeights]:
    width = len(LayerWeights._fields)
    return [LayerWeights(*given[start : start + width]) for start in range(0, len(given), width)]
