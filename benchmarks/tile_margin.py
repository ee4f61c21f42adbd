# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Measures from which distance of its edge a tile's inside is what it is in the whole image.

    python benchmarks/tile_margin.py [--ckpt FILE | --encoder FILE] [--picture FILE] [--side 96] [--tile 64]

`TILE_OVERLAP` and `TILE_MARGIN` of src/sampling.py are set by it. The tile is the top left corner of a
low-resolution image, so that its bottom and right edges are inside the image. Both are computed with the same latents.
The table gives, for each tolerance, the margin in low-resolution pixels beyond which nothing differs by more, and the
greatest difference:

    encoder   the image that the encoder alone makes, with ESRGAN's sum; with --encoder only
    level N   the conditions: shifts and scales as they are, inputs of hidden layers in standard deviations
    image     the super-resolved image, whose values are from 0 to 1
    padded    the tile's own image, computed alone and padded by reflection to the side of the whole one

Lines `in tiles` are of the whole image computed in overlapping tiles, as `SRFlow.sample` does. Without --ckpt the
weights are the seeded ones of full size that the other benchmarks use, with --encoder those of its own among them.
"""

import argparse
import os
import sys

import numpy as np
from mindspore import Tensor
from skimage.data import astronaut

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.dirname(os.path.abspath(__file__))]

from run import make_network  # noqa: E402

from src.dataloader.image_file import read_image  # noqa: E402
from src.images import from_uint8  # noqa: E402
from src.imresize import imresize  # noqa: E402
from src.model.RRDBNet import leaky_relu  # noqa: E402
from src.model.SRFlow import SRFlow  # noqa: E402
from src.model.convolutions import nearest_up2  # noqa: E402
from src.model_utils.util import pynative_mode  # noqa: E402
from src.sampling import TILE_MARGIN, TILE_OVERLAP  # noqa: E402
from src.tiling import Tile, assemble, crop_latents, tiles  # noqa: E402
from src.weights.weight_files import read_weights  # noqa: E402

HIDDEN = 2  # of the shift, the scale and the hidden layer's input, in turn
TOLERANCES = (1e-2, 4e-3, 1e-3, 1e-4, 1e-5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--ckpt", metavar="FILE", help="a checkpoint (default: seeded weights)")
    source.add_argument("--encoder", metavar="FILE", help="an ESRGAN encoder with the official names")
    parser.add_argument("--picture", metavar="FILE", help="a low-resolution picture (default: the astronaut at 1/4)")
    parser.add_argument("--side", type=int, default=96, help="of the square cut from the picture's middle")
    parser.add_argument("--tile", type=int, default=64, help="side of the tile")
    parser.add_argument("--heat", type=float, default=0.9)
    options = parser.parse_args()
    lr, model = load_picture(options.picture, options.side), load_model(options.ckpt, options.encoder)
    print(f"{'margin for':12s}" + "".join(f"{tolerance:8.0e}" for tolerance in TOLERANCES) + "    greatest")
    if options.encoder:
        measure_encoder(model, lr, options.tile)
    measure(model, lr, options.tile, options.heat)


def load_model(path, encoder):
    if path:
        return SRFlow.from_checkpoint(path)
    net, _ = make_network()
    if encoder:
        arrays = read_weights(encoder).arrays
        for parameter in net.RRDB.get_parameters():
            value = arrays.get(parameter.name)
            parameter.set_data(Tensor(arrays[parameter.name.replace("RRDB.", "", 1)] if value is None else value))
    return SRFlow(net)


def load_picture(path, side):
    """float32 (1, 3, side, side)."""
    picture = read_image(path) if path else imresize(astronaut(), 1 / 4)
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return from_uint8(picture[top : top + side, left : left + side])


def measure_encoder(model, lr, side):
    whole, parts = esrgan_image(model.net.RRDB, lr), tiles(*lr.shape[2:], side, TILE_OVERLAP)
    images = {part: esrgan_image(model.net.RRDB, part.cut(lr)) for part in parts}
    report("encoder", np.abs(images[parts[0]] - parts[0].cut(whole, model.scale)).max(axis=(0, 1)), side)
    tiled = [strip.copy() for _, strip in assemble(parts, images.get, model.scale, TILE_MARGIN)]
    report_tiled(np.abs(np.concatenate(tiled, axis=2) - whole))


def esrgan_image(rrdb, lr):
    """What `RRDBNet.image` makes, but that ESRGAN adds the first convolution's output after the trunk."""
    with pynative_mode():
        start = fea = rrdb.conv_first(Tensor(np.ascontiguousarray(lr)))
        for block in rrdb.blocks_in_order:
            fea = block(fea)
        fea = start + rrdb.trunk_conv(fea)
        for conv in rrdb.upconvs:
            fea = leaky_relu(conv(nearest_up2(fea)))
        return rrdb.conv_last(leaky_relu(rrdb.HRconv(fea))).asnumpy()


def measure(model, lr, side, heat):
    tile = Tile(0, 0, side, side)
    part = np.ascontiguousarray(tile.cut(lr))
    images, latents = model.sample(lr, heat, seed=0, with_latents=True)
    whole = [[value.asnumpy() for value in level] for level in model._condition(lr)]
    alone = model.decode(part, crop_latents([latent[0] for latent in latents], tile, model.scale))
    for number, (level, tile_level) in enumerate(zip(whole, model._condition(part)), start=1):
        differences = []
        for kind, (value, tile_value) in enumerate(zip(level, tile_level)):
            size = value.shape[2]
            inside = value[:, :, : size * side // lr.shape[2], : size * side // lr.shape[3]]
            spread = value.std(axis=(2, 3)).mean() if kind % 3 == HIDDEN else 1
            differences.append(np.abs(tile_value.asnumpy() - inside).max(axis=(0, 1)) / spread)
        report(f"level {number}", np.max(differences, axis=0), side)
    report("image", np.abs(alone - tile.cut(images[0], model.scale)).max(axis=(0, 1)), side)
    report_tiled(np.abs(model.sample(lr, heat, seed=0, tile=side) - images))
    padded = model.sample(part, heat, seed=0, size=lr.shape[2:])[0]
    report("padded", np.abs(model.sample(part, heat, seed=0)[0] - padded).max(axis=(0, 1)), side)


def report(name, difference, side):
    """One line; difference: a map of the tile."""
    to_edge = np.arange(len(difference))[::-1] * side // len(difference)  # low-resolution pixels between
    to_edge = np.minimum.outer(to_edge, to_edge)
    margins = [max(to_edge[difference > tolerance], default=-1) + 1 for tolerance in TOLERANCES]
    print(f"{name:12s}" + "".join(f"{margin:8d}" for margin in margins) + f"{difference.max():12.1e}", flush=True)


def report_tiled(difference):
    print(
        f"{'  in tiles':12s}greatest {difference.max():.1e}, 99.9th percentile "
        f"{np.percentile(difference, 99.9):.1e}, more than 1/255 in {100 * np.mean(difference > 1 / 255):.2g} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
