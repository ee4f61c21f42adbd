# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One step of the flow: ActNorm, invertible 1×1 convolution, and a coupling where the step has one."""
from src.model.Flow import FlowCell
from src.model.FlowActNorms import ActNorm
from src.model.InvertibleConv1x1 import InvertibleConv1x1


class FlowStep(FlowCell):
    """ActNorm ∘ 1×1 ∘ coupling (SRFlow, section 3.4); without `affine` it is the paper's transition step.

    construct: the three in this order; inverse: their inverses from the last to the first; log-dets add.
    cond = (cond of the 1×1, which includes the ActNorm, and cond of the coupling or ()).
    """

    def __init__(self, channels, affine=None):
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvertibleConv1x1(channels)
        self.affine = affine

    def construct(self, x, cond):
        mixing, coupling = cond
        z, logdet = self.invconv(x, mixing)
        if self.affine is not None:
            z, term = self.affine(z, coupling)
            logdet = logdet + term
        return z, logdet

    def inverse(self, z, cond):
        mixing, coupling = cond
        if self.affine is None:
            return self.invconv.inverse(z, mixing)
        x, logdet = self.affine.inverse(z, coupling)
        x, term = self.invconv.inverse(x, mixing)
        return x, logdet + term

    def mixing_parameters(self):
        """Those of which `mixing_weights` makes the cond of the 1×1."""
        return self.invconv.weight, self.actnorm.bias, self.actnorm.logs

    def initialise(self, x, features):
        """Host side: sets the step's ActNorms for this batch; returns the step's output.

        x (N, C, H, W); features (N, F, H, W), the level's conditional features.
        """
        z = self.invconv.mix(self.actnorm.initialise(x))
        return z if self.affine is None else self.affine.initialise(z, features)
