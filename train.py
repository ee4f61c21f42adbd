# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Trains SRFlow, or pre-trains its encoder (model: RRDB).

    python train.py --opt SRFlow_DF2K_4X.yml --device_target CPU --set train.niter=1000
"""
import csv
import os
import time

import numpy as np
from mindspore import Tensor
from tqdm import tqdm

from src.dataloader.dataset import TrainData
from src.model.RRDBNet import RRDBNet
from src.model.SRFlow import build_network, dequantise
from src.model.SRFlowNet import L1Loss, NegativeLogLikelihood, initialise_actnorms
from src.model_utils.checkpoint import TRAINING, Checkpoint, CheckpointError, load_parameters, parameter_arrays, \
    read_checkpoint, write_checkpoint
from src.model_utils.config import get_config
from src.model_utils.device_adapter import get_adapter
from src.model_utils.network_names import IMAGE_ONLY
from src.model_utils.options import differences
from src.model_utils.picture import write_png
from src.model_utils.train_step import Adam, LossScale, TrainStep
from src.model_utils.util import bar_interval, init_distributed, run_main, set_device, set_seed
from src.model_utils.validation import make_validation
from src.model_utils.weight_files import read_any
from src.scheduler.scheduler import make_schedule

LATEST = "latest.ckpt"


class TrainingStopped(ValueError):
    """Training cannot go on; the message says why and which checkpoint is good."""


def main(argv=None):
    _, opt = get_config("train", argv)
    adapter = get_adapter(opt)
    adapter.moxing_wrapper(opt)(train)(opt, adapter.get_rank_id(), adapter.get_device_num())


def train(opt, rank_id=0, rank_size=1):
    """One run, from its beginning or from its last checkpoint to `train.niter` steps."""
    settings = opt.train
    resume_path = find_resume(opt)
    refuse_to_overwrite(opt, resume_path)
    set_device(opt.device_target, get_adapter(opt).get_device_id(opt.device_id))
    init_distributed(rank_size)
    set_seed(settings.manual_seed)

    data = make_data(opt, rank_id, rank_size)
    net, loss = build(opt)
    optimizers = make_optimizers(opt, net)
    step, actnorm_initialised, loss_scale = 0, False, LossScale(opt.precision == "float16")
    if resume_path:
        state = resume(resume_path, opt, net, optimizers)
        step, actnorm_initialised = state["step"], state["actnorm_initialised"]
        loss_scale = LossScale(loss_scale.dynamic, **state.get("loss_scale", {}))  # a float32 run has none
    elif opt.path.train_pretrain_model_G:
        load_encoder(opt, net)
    if opt.model == "SRFlow" and not actnorm_initialised:
        hr, lr = next(pairs(opt, make_data(opt, 0, rank_size), 0))  # the same batch on every rank
        initialise_actnorms(net, hr, lr)

    schedule = make_schedule(settings)
    validation = make_validation(opt, net) if rank_id == 0 else None
    log = CsvLog(os.path.join(opt.output_dir, "train.csv")) if rank_id == 0 else None
    if step == 0 and validation:
        validate(validation, opt, step)

    train_step = None
    bad_in_row = skipped = 0
    window, started = [], time.time()
    with tqdm(total=settings.niter, initial=step, unit="it", disable=rank_id != 0, mininterval=bar_interval()) as bar:
        for hr, lr in pairs(opt, data, step):
            if step >= settings.niter:
                break
            if train_step is None or step == encoder_start(opt):
                train_step = TrainStep(loss, trained_at(step, opt, optimizers), settings.grad_clip_norm, rank_size,
                                       loss_scale.dynamic)
            rate = schedule(step)
            train_step.set_loss_scale(loss_scale.value)
            outputs = train_step(Tensor(hr), Tensor(lr), Tensor(np.float32(rate)))
            nll, norm, finite = (float(output.asnumpy()) for output in outputs)
            loss_scale.update(finite)
            step += 1

            bad_in_row = 0 if finite else bad_in_row + 1
            skipped += not finite
            window.append(nll if finite else np.nan)
            bar.set_postfix({"nll" if opt.model == "SRFlow" else "l1": f"{nll:.3f}", "lr": f"{rate:.2e}",
                             **({"skipped": skipped} if skipped else {})}, refresh=False)
            bar.update()
            if bad_in_row >= settings.max_bad_steps:
                raise TrainingStopped(f"step {step}: loss or gradient was not finite in {bad_in_row} steps in a row; "
                                      f"stopped. {advice_after_stop(opt)}")
            if rank_id != 0:
                continue
            done = step == settings.niter
            if step % settings.print_freq == 0 or done or step == 1:
                log.row(step=step, loss=np.nanmean(window) if np.isfinite(window).any() else np.nan, lr=rate,
                        grad_norm=norm, skipped=skipped, seconds=time.time() - started)
                window = []
            if step % settings.save_checkpoint_freq == 0 or done:
                save(opt, net, optimizers, step, loss_scale)
            if validation and (step % settings.val_freq == 0 or done):
                validate(validation, opt, step)


def make_data(opt, rank_id, rank_size):
    train_set = opt.datasets.train
    return TrainData(train_set.dataroot, opt.scale, train_set.batch_size, train_set.HR_size, opt.train.manual_seed,
                     train_set.use_flip, train_set.add_noise, rank_id, rank_size, train_set.num_workers)


def build(opt):
    """(network, loss cell) of the options' model."""
    network = opt.network_G
    if opt.model == "RRDB":
        net = RRDBNet(opt.scale, network.nf, network.nb, network.gc, blocks=())
    else:
        net = build_network(opt)
        if opt.train.recompute:
            net.flowUpsamplerNet.recompute_steps()
    if opt.precision == "float16":
        net.compute_in_half()
    if opt.model == "RRDB":
        return net, L1Loss(net)
    return net, NegativeLogLikelihood(net, opt.datasets.train.quant if opt.datasets.train.add_noise else None)


def make_optimizers(opt, net):
    """{"flow": Adam, "encoder": Adam}: apart, because the encoder's may start later, from a fresh state."""
    settings = opt.train

    def adam(name, params):
        return Adam(params, name, settings.beta1, settings.beta2, settings.weight_decay_G)

    if opt.model == "RRDB":
        return {"encoder": adam("encoder", list(net.get_parameters()))}
    optimizers = {"flow": adam("flow", list(net.flowUpsamplerNet.get_parameters()))}
    if opt.network_G.train_RRDB:
        unused = {param.name for param in net.RRDB.image_only_parameters()}
        optimizers["encoder"] = adam("encoder", [p for p in net.RRDB.get_parameters() if p.name not in unused])
    return optimizers


def encoder_start(opt):
    """The step from which the encoder is trained too."""
    return 0 if opt.model == "RRDB" else int(round(opt.network_G.train_RRDB_delay * opt.train.niter))


def trained_at(step, opt, optimizers):
    return [optimizer for name, optimizer in optimizers.items() if name != "encoder" or step >= encoder_start(opt)]


def pairs(opt, data, step):
    """(hr, lr) batches from a step on, without end; float32 NCHW, hr dequantised if configured."""
    while True:
        epoch, start = divmod(step, data.len_batches)
        for hr, lr, noise in data.batches(epoch, start):
            yield (hr if noise is None else dequantise(hr, noise, opt.datasets.train.quant)), lr
            step += 1


def load_encoder(opt, net):
    """Loads a pre-trained RRDB: that of `path.train_pretrain_model_G`, of any kind, its flow left out if it has one."""
    path = opt.path.train_pretrain_model_G
    arrays = {name: value for name, value in with_prefix(read_any(path).parameters()).items()
              if name.startswith("RRDB.")}
    # A pre-training's network bears no prefix; its image is what is trained there, and of no use to a flow.
    encoder, optional = (net, ()) if opt.model == "RRDB" else (net.RRDB, IMAGE_ONLY)
    if opt.model == "RRDB":
        arrays = {name[len("RRDB."):]: value for name, value in arrays.items()}
    for problem in load_parameters(encoder, arrays, path, opt.path.strict_load, optional):
        tqdm.write(f"{path}: {problem}; left as it was")


def with_prefix(arrays):
    """Parameters with `RRDB.` before the names of an encoder alone, which bear none."""
    whole = any(name.startswith("RRDB.") for name in arrays)
    return arrays if whole else {f"RRDB.{name}": value for name, value in arrays.items()}


def latest_checkpoint(opt):
    """The path of the run's own checkpoint."""
    return os.path.join(opt.output_dir, LATEST)


def find_resume(opt):
    """The checkpoint that `path.resume_state` means, or None for a new run."""
    if opt.path.resume_state != "auto":
        return opt.path.resume_state
    latest = latest_checkpoint(opt)
    return latest if os.path.exists(latest) else None


def refuse_to_overwrite(opt, resume_path):
    """A new run may not replace the checkpoints of another one."""
    latest = latest_checkpoint(opt)
    if resume_path is None and os.path.exists(latest):
        raise ValueError(f"output_dir: {opt.output_dir} holds the run of {latest}; continue it with "
                         "path.resume_state=auto, or give another output_dir")


def resume(path, opt, net, optimizers):
    """Restores parameters and optimizer states; returns the checkpoint's state: `step` and `actnorm_initialised`."""
    checkpoint = read_checkpoint(path)
    if checkpoint.kind != TRAINING:
        raise CheckpointError(f"{path}: an {checkpoint.kind} checkpoint; training resumes from a training checkpoint")
    changed = [key for key in differences(checkpoint.options, opt)
               if key.split(".")[0] in ("model", "scale", "network_G") and not key.startswith("network_G.train_RRDB")]
    if changed:
        raise CheckpointError(f"{path}: its run had another network ({', '.join(changed)}); use another "
                              "output_dir")
    load_parameters(net, checkpoint.parameters(), path)
    for optimizer in optimizers.values():
        for parameter in optimizer.state():
            if parameter.name in checkpoint.arrays:
                parameter.set_data(Tensor(checkpoint.arrays[parameter.name]))
    print(f"resumed from {path} at step {checkpoint.state['step']}")
    return checkpoint.state


def save(opt, net, optimizers, step, loss_scale):
    """Everything that resuming needs, in one file: parameters, optimizer states, step, options."""
    arrays = parameter_arrays(net)
    for optimizer in optimizers.values():
        arrays.update({parameter.name: parameter.asnumpy() for parameter in optimizer.state()})
    state = {"step": step, "actnorm_initialised": opt.model == "SRFlow"}  # before the first step, see train
    if loss_scale.dynamic:
        state["loss_scale"] = loss_scale.state()
    write_checkpoint(latest_checkpoint(opt), Checkpoint(TRAINING, opt, arrays, state))


def advice_after_stop(opt):
    """Which checkpoint is good, and what to change."""
    changes = "a smaller train.lr_G or with train.grad_clip_norm"
    latest = latest_checkpoint(opt)
    if os.path.exists(latest):
        return f"The last good checkpoint is {latest}; resume from it with {changes}"
    return f"This run has written no checkpoint yet; start it again with {changes}"


def validate(validation, opt, step):
    """Runs a validation; appends its figures to validation.csv and writes its picture sheet."""
    figures, picture = validation()
    CsvLog(os.path.join(opt.output_dir, "validation.csv")).row(step=step, **figures)
    write_png(os.path.join(opt.output_dir, "pictures", f"step_{step:07d}.png"), picture)
    tqdm.write(f"validation at step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))


class CsvLog:
    """Appends rows to a CSV file; the first row of a new file gives it its header."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)

    def row(self, **values):
        new = not os.path.exists(self.path)
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(values)
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values.values()])


if __name__ == "__main__":
    run_main(main)
