# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network of `src.model`, arranged for MindSpore's CPU kernels: the same functions of the same parameters.

`src.model` says what is computed. This package says how MindSpore computes it fastest on a CPU. Outside of it only
`src.model.implementation`, which chooses, and training, which joins stacks, know of the arrangement. Files hold the
official parameters. What is made of them here, the weights, is made when a model is loaded, and in training in every
step. `tests/test_cpu_network.py` holds both implementations to the same values and gradients.

What is rearranged, and why it pays, is listed here. Figures are for the full 4X network, a 40×40 image and two cores.

1. `winograd`: the dense blocks' convolutions and the first layers of the couplings' networks go by Winograd's F(4×4,
   3×3). The definition has 82 billion multiplications, this 23 billion. No map is unfolded into a matrix of nine times
   its size, which for one 320-channel gradient at level 1 takes 74 MB.
2. `winograd`: three quarters of a level's features are maps enlarged by repetition. Of an enlarged map 25 of 36
   products are not zero.
3. `level`: what the K steps of a level do to the same features is done for a group of steps at once. This is one large
   matrix product instead of 2·K small ones, of which each would unfold the map again. MindSpore's convolution reaches
   100 GFLOP/s with 64 output channels and 275 with 2048.
4. `mixing`, `couplings`: ActNorms are folded into the convolutions beside them. The 1×1 matrices of a level are
   inverted, and their determinants taken, as one batch. This takes 2 T instead of 31, where T is the time of one
   convolution of 320 to 64 channels on 80×80.
5. `convolutions`: a bias is the weight of one more channel, which is constantly 1. To add a bias takes as long as a
   small convolution. A layer with fewer outputs than inputs is a transposed convolution, which unfolds its output
   instead.
6. `operators`: a sum is a product with ones, ten times as fast as ReduceSum. A reciprocal and a product take a quarter
   of a division's time. The gradient of a cut is one concatenation.
7. `stacks`: the parameters of the layers of a kind are trained as one stack. There are 82 stacks and 1,731 parameters.
   Compiling takes half the time, and a step no longer handles each parameter by itself.
8. `packed`, `sampler`: for sampling all of this is made once, and the network is compiled in parts: one encoder block,
   called for all 23, and eight steps of a level. A first picture takes 10 s instead of 23 s of compilation, and 1.5 GB
   instead of 2.4 GB.

Winograd's weights are four times as many numbers as the kernels they are made of: 548 MB in memory, 157 MB in a file.
"""
