# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Adam, and the training step: loss, gradients, clipping and update, of a batch at once or in slices."""

import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from src.model.cpu.stacks import put_together, taken_apart
from src.model_utils.util import compile_cell


class Adam(nn.Cell):
    """Adam (Kingma and Ba, algorithm 1), with ε where PyTorch has it.

        m ← β1·m + (1 − β1)·g      v ← β2·v + (1 − β2)·g²      p ← p − rate·m̂/(√v̂ + ε)

    Here m̂ = m/(1 − β1^t) and v̂ = v/(1 − β2^t), with t the number of updates of this optimizer. MindSpore's own
    nn.Adam adds ε to √v instead, which is another step size wherever gradients are small at the start. Weight decay
    adds weight_decay·p to g.

    Args:
        params: list of parameters.
        name: part of the names of the optimizer's state, such as `flow`.
        beta1, beta2: β1 and β2.
        weight_decay: 0 for none.
        stacks: list of joined ParameterStacks of some of `params`, updated in their place.
        eps: ε.
    """

    def __init__(self, params, name, beta1, beta2, weight_decay=0.0, stacks=(), eps=1e-8):
        super().__init__(auto_prefix=False)
        self.stacks, members = stacks, {}
        for stack in stacks:
            members.update(stack.stands_for())
        stacked = {param.name for same in members.values() for param in same}
        params = [param for param in params if param.name not in stacked] + [p for s in stacks for p in s.joined]
        self.params = ParameterTuple(params)
        self.state_members = {
            f"{prefix}.{stack}": [f"{prefix}.{param.name}" for param in same]
            for prefix in (f"optimizer.{name}.m", f"optimizer.{name}.v")
            for stack, same in members.items()
        }
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.m = _zeros_like(params, f"optimizer.{name}.m")
        self.v = _zeros_like(params, f"optimizer.{name}.v")
        self.steps = Parameter(Tensor(0.0, mstype.float32), name=f"optimizer.{name}.steps", requires_grad=False)
        self.log_beta1, self.log_beta2 = math.log(max(beta1, 1e-38)), math.log(max(beta2, 1e-38))
        self.update = ops.Adam()
        self.hyper_map = ops.HyperMap()

    def state(self):
        """Return all parameters of the optimizer itself."""
        return list(self.m) + list(self.v) + [self.steps]

    def state_arrays(self):
        """Return the state by name, whether parameters are joined or not.

        The names are `optimizer.{name}.m.{parameter}`, `optimizer.{name}.v.{parameter}` and `optimizer.{name}.steps`.
        """
        return taken_apart({param.name: param.asnumpy() for param in self.state()}, self.state_members)

    def load_state(self, arrays):
        """Restore what `state_arrays` gave; a state that is not among the arrays stays as it is."""
        arrays = put_together(arrays, self.state_members)
        for param in self.state():
            if param.name in arrays:
                param.set_data(Tensor(arrays[param.name]))

    def write_back(self):
        """Bring the layers' own parameters up to date, which stay behind where `stacks` join them."""
        for stack in self.stacks:
            stack.write_back()

    def construct(self, grads, rate):
        """Update `params` once; grads: tuple in the order of `self.params`; rate: float32 scalar."""
        steps = self.steps + 1.0
        power1 = ops.Exp()(steps * self.log_beta1)
        power2 = ops.Exp()(steps * self.log_beta2)
        # MindSpore's operator takes β^t, but adds ε to √v. ε·√(1 − β2^t) there is the same as ε added to √v̂.
        eps = self.eps * ops.Sqrt()(1.0 - power2)
        done = self.hyper_map(
            ops.partial(_update, self.update, power1, power2, rate, self.beta1, self.beta2, eps, self.weight_decay),
            self.params,
            self.m,
            self.v,
            grads,
        )
        return ops.depend(ops.assign(self.steps, steps), done)


_update = ops.MultitypeFuncGraph("adam_update")


@_update.register(
    "Function",
    "Tensor",
    "Tensor",
    "Tensor",
    "Number",
    "Number",
    "Tensor",
    "Number",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
)
def _update_parameter(update, power1, power2, rate, beta1, beta2, eps, weight_decay, param, m, v, grad):
    if weight_decay > 0.0:
        grad = grad + weight_decay * param
    return ops.depend(True, update(param, m, v, power1, power2, rate, beta1, beta2, eps, grad))


def _zeros_like(params, prefix):
    return ParameterTuple(
        [
            Parameter(Tensor(np.zeros(param.shape, np.float32)), name=f"{prefix}.{param.name}", requires_grad=False)
            for param in params
        ]
    )


class LossScale:
    """The factor of the loss in float16 training, a power of two, without which small gradients would vanish.

    It is halved after a step that was not finite, and doubled after `patience` finite ones (Micikevicius et al., "Mixed
    precision training", 2018, section 3.2).

    Args:
        dynamic: whether it changes; otherwise it is always 1, as float32 needs.
        value: the factor to begin with.
        finite_steps: finite steps since one that was not finite, or since the factor was last doubled.
        patience: finite steps after which it is doubled.
    """

    def __init__(self, dynamic, value=2.0**15, finite_steps=0, patience=1000):
        self.dynamic, self.patience = dynamic, patience
        self.value, self.finite_steps = (value, finite_steps) if dynamic else (1.0, 0)

    def update(self, finite):
        """Take note of a step, with the `finite` that `TrainStep` gave for it."""
        if not self.dynamic:
            return
        self.finite_steps = self.finite_steps + 1 if finite else 0
        if not finite:
            self.value = max(self.value / 2, 1.0)
        elif self.finite_steps == self.patience:
            self.value, self.finite_steps = min(self.value * 2, 2.0**24), 0

    def state(self):
        """Return what continues it, as arguments of the constructor."""
        return {"value": self.value, "finite_steps": self.finite_steps} if self.dynamic else {}


class MeanLoss(nn.Cell):
    """(hr, lr) -> the mean of loss_cell's losses, times the parameter `scale` if there is one.

    This is a cell, not a method of TrainStep (docs/mindspore-1.7.md, 8).

    Args:
        loss_cell: (hr, lr) -> float32 (N,).
        scale: parameter or None.
        slices: number of slices of the batch. The result is this slice's share of the whole batch's mean: that of all
            slices adds up to it.
    """

    def __init__(self, loss_cell, scale=None, slices=1):
        super().__init__(auto_prefix=False)
        self.loss_cell, self.scale, self.slices = loss_cell, scale, slices

    def construct(self, hr, lr):
        loss = ops.ReduceMean()(self.loss_cell(hr, lr))
        if self.slices > 1:
            loss = loss / self.slices
        return loss if self.scale is None else loss * self.scale


class TrainStep(nn.Cell):
    """(hr, lr, rate) -> (loss, gradient norm, finite), having updated the parameters if finite.

    A step whose loss or gradient is not finite leaves parameters and optimizers as they were. The gradient norm is the
    2-norm of the whole gradient before clipping.

    Args:
        loss_cell: (hr, lr) -> float32 (N,), whose mean is minimised.
        optimizers: list of Adam, each of which updates its own parameters.
        clip_norm: the largest 2-norm of the whole gradient; None: no clipping.
        rank_size: number of processes that train together.
        scaled: whether the loss is multiplied by `loss_scale` and the gradients are divided by it. `loss_scale` is a
            parameter with the value of LossScale.
    """

    def __init__(self, loss_cell, optimizers, clip_norm=None, rank_size=1, scaled=False):
        super().__init__(auto_prefix=False)
        self.loss_scale = Parameter(Tensor(1.0, mstype.float32), name="loss_scale", requires_grad=False)
        self.mean_loss = MeanLoss(loss_cell, self.loss_scale if scaled else None)
        self.optimizers = nn.CellList(optimizers, auto_prefix=False)
        self.params = ParameterTuple([param for optimizer in optimizers for param in optimizer.params])
        self.ends = [len(optimizer.params) for optimizer in optimizers]
        self.clip_norm, self.scaled = clip_norm, scaled
        self.is_ready = False
        self.grad = ops.GradOperation(get_by_list=True)
        self.hyper_map = ops.HyperMap()
        self.mean_over_ranks = nn.DistributedGradReducer(self.params, True, rank_size) if rank_size > 1 else None
        self.sum_over_ranks, self.rank_size = ops.AllReduce() if rank_size > 1 else None, rank_size

    def run(self, hr, lr, rate):
        """Do a step in graph mode on the host side; the first call compiles.

        Args:
            hr: float32 (N, 3, H, W), NumPy.
            lr: float32 (N, 3, h, w), NumPy.
            rate: the learning rate.

        Returns:
            (loss, gradient norm, finite): float, float and bool.
        """
        inputs = Tensor(hr), Tensor(lr), Tensor(np.float32(rate))
        if not self.is_ready:
            compile_cell(self, *inputs)
            self.is_ready = True
        return _on_host(*self(*inputs))

    def set_loss_scale(self, value):
        """Set the factor of the next steps' loss, 1 at first; it is used if the step is `scaled`."""
        self.loss_scale.set_data(Tensor(value, mstype.float32))

    def global_norm(self, grads):
        """Compute the 2-norm of all gradients together.

        A loop over a thousand gradients would be too deep for the compiler.
        """
        return ops.Sqrt()(ops.AddN()(self.hyper_map(_sum_of_squares, grads)))

    def construct(self, hr, lr, rate):
        loss = self.mean_loss(hr, lr)
        grads = self.grad(self.mean_loss, self.params)(hr, lr)
        return self.update(loss, grads, rate)

    def update(self, loss, grads, rate):
        """Update the parameters if loss and gradient are finite, those of all ranks together.

        Args:
            loss: float32 scalar, this rank's.
            grads: this rank's gradients, a tuple in the order of `self.params`.
            rate: float32 scalar.

        Returns:
            what `construct` does.
        """
        if self.mean_over_ranks is not None:
            grads = self.mean_over_ranks(grads)
            # The loss too: where that of one rank is not finite, all ranks must skip the step.
            loss = self.sum_over_ranks(loss) / self.rank_size
        norm = self.global_norm(grads)
        finite = ops.IsFinite()(loss + norm)
        if self.scaled:
            loss, norm = loss / self.loss_scale, norm / self.loss_scale
        if self.scaled or self.clip_norm is not None:
            grads = self.hyper_map(ops.partial(_scale, self._factor(norm)), grads)
        if finite:
            start = 0
            for i, optimizer in enumerate(self.optimizers):
                loss = ops.depend(loss, optimizer(grads[start : start + self.ends[i]], rate))
                start += self.ends[i]
        return loss, norm, finite

    def _factor(self, norm):
        """Return the factor, (1,), by which the gradients are multiplied before the update."""
        factor = ops.Ones()((1,), mstype.float32)
        if self.clip_norm is not None:
            # (1,), as Minimum of MindSpore 1.7 does not take two scalars.
            factor = ops.Minimum()(self.clip_norm / (ops.Reshape()(norm, (1,)) + 1e-6), 1.0)
        return factor / self.loss_scale if self.scaled else factor


class AccumulatedTrainStep(TrainStep):
    """A TrainStep that takes its batch in slices, one after the other, so that the network sees one at a time.

    The mean over the batch is the sum of its slices' shares. So `add_slice` adds each slice's gradients to `totals`,
    parameters of the same shapes, and this cell updates once from what they have become:

        (loss, rate) -> (loss, gradient norm, finite)

    It clears them again, also where it does not update because a slice was not finite. Each of the two cells is
    compiled once. The mean over the ranks, the norm, clipping and the division by the loss scale are done once for all
    slices.

    Args:
        loss_cell, optimizers, clip_norm, rank_size, scaled: as TrainStep has them.
        slices: number of slices of equal size.
    """

    def __init__(self, loss_cell, optimizers, clip_norm=None, rank_size=1, scaled=False, slices=2):
        super().__init__(loss_cell, optimizers, clip_norm, rank_size, scaled)
        self.mean_loss = MeanLoss(loss_cell, self.loss_scale if scaled else None, slices)
        self.slices = slices
        self.totals = _zeros_like(self.params, "accumulated")
        self.add_slice = AddSlice(self.mean_loss, self.params, self.totals)

    def run(self, hr, lr, rate):
        """Do a step of all slices in graph mode on the host side; the first call compiles.

        Args:
            hr: float32 (slices·N, 3, H, W), NumPy.
            lr: float32 (slices·N, 3, h, w), NumPy.
            rate: the learning rate.

        Returns:
            (loss, gradient norm, finite): float, float and bool.
        """
        loss, rate = Tensor(np.float32(0)), Tensor(np.float32(rate))
        for hr_slice, lr_slice in zip(np.split(hr, self.slices), np.split(lr, self.slices)):
            inputs = Tensor(hr_slice), Tensor(lr_slice), loss
            if not self.is_ready:
                compile_cell(self.add_slice, *inputs)
                compile_cell(self, loss, rate)
                self.is_ready = True
            loss = self.add_slice(*inputs)
        return _on_host(*self(loss, rate))

    def construct(self, loss, rate):
        loss, norm, finite = self.update(loss, self.totals, rate)
        return ops.depend(loss, self.hyper_map(_clear, self.totals)), norm, finite


class AddSlice(nn.Cell):
    """(hr, lr, loss) -> loss plus that of the slice (hr, lr), having added its gradients to `totals`.

    Args:
        mean_loss: MeanLoss of one of several slices.
        params: ParameterTuple of what the gradients are with respect to.
        totals: ParameterTuple of the same shapes, to which they are added.
    """

    def __init__(self, mean_loss, params, totals):
        super().__init__(auto_prefix=False)
        self.mean_loss, self.params, self.totals = mean_loss, params, totals
        self.grad = ops.GradOperation(get_by_list=True)
        self.hyper_map = ops.HyperMap()

    def construct(self, hr, lr, loss):
        loss = loss + self.mean_loss(hr, lr)
        grads = self.grad(self.mean_loss, self.params)(hr, lr)
        return ops.depend(loss, self.hyper_map(_add, self.totals, grads))


def _on_host(loss, norm, finite):
    """Return what a step has given as float, float and bool."""
    return float(loss.asnumpy()), float(norm.asnumpy()), bool(finite.asnumpy())


_add = ops.MultitypeFuncGraph("add_gradient")


@_add.register("Tensor", "Tensor")
def _add_gradient(total, grad):
    return ops.AssignAdd()(total, grad)


_clear = ops.MultitypeFuncGraph("clear_total")


@_clear.register("Tensor")
def _clear_total(total):
    return ops.assign(total, ops.ZerosLike()(total))


_scale = ops.MultitypeFuncGraph("scale_gradient")


@_scale.register("Tensor", "Tensor")
def _scale_gradient(scale, grad):
    return grad * scale


_sum_of_squares = ops.MultitypeFuncGraph("sum_of_squares")


@_sum_of_squares.register("Tensor")
def _sum_of_squares_of_gradient(grad):
    # By a product of matrices. A stack has millions of numbers. Where they are added up one after the other, as
    # ops.L2Loss does on the CPU, the sum is off by a percent in float32.
    rows = ops.Reshape()(grad, (grad.shape[0], 1, -1))
    return ops.ReduceSum()(ops.BatchMatMul(False, True)(rows, rows))
