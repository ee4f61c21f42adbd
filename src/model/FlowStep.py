# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One step of the flow: ActNorm, invertible 1×1 convolution, and a coupling where the step has one."""

from src.model.Flow import FlowCell
from src.model.FlowActNorms import ActNorm
from src.model.InvertibleConv1x1 import InvertibleConv1x1


class FlowStep(FlowCell):
    """Step of the flow: ActNorm, 1×1 convolution, coupling.

    construct: the three in this order, logdet = the sum of theirs
    inverse:   their inverses from the last to the first, logdet = the sum of theirs

    Without a coupling it is the paper's transition step. condition = that of the coupling, () without one (SRFlow,
    section 3.4).
    """

    def __init__(self, channels, affine=None):
        """Build the layers.

        Args:
            channels: C of x.
            affine: the coupling, a FlowCell of C channels, or None.
        """
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvertibleConv1x1(channels)
        self.affine = affine

    def condition(self, ft):
        return () if self.affine is None else self.affine.condition(ft)

    def construct(self, x, condition=()):
        z, logdet = self.actnorm(x)
        z, term = self.invconv(z)
        logdet = logdet + term
        if self.affine is not None:
            z, term = self.affine(z, condition)
            logdet = logdet + term
        return z, logdet

    def inverse(self, z, condition=()):
        if self.affine is None:
            x, logdet = self.invconv.inverse(z)
        else:
            x, logdet = self.affine.inverse(z, condition)
            x, term = self.invconv.inverse(x)
            logdet = logdet + term
        x, term = self.actnorm.inverse(x)
        return x, logdet + term

    def initialise(self, x, ft):
        """Set the step's ActNorms by this batch, on the host.

        Args:
            x: float32 (N, C, H, W).
            ft: float32 (N, F, H, W), the level's features.

        Returns:
            z of this batch, float32 (N, C, H, W).
        """
        z = self.invconv.mix(self.actnorm.initialise(x))
        return z if self.affine is None else self.affine.initialise(z, ft)
