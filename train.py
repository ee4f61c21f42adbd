# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Train SRFlow, or pre-train its encoder (model: RRDB).

python train.py --opt SRFlow_DF2K_4X.yml --device_target CPU --set train.niter=1000
"""

import contextlib
import math
import os
import sys

from tqdm import tqdm

from src.dataloader.dataset import TrainData
from src.images import dequantise
from src.memory import available_memory, gigabytes, of_training, problem_of_training
from src.model.RRDBNet import RRDBNet
from src.model.SRFlow import build_network, require_usable
from src.model.SRFlowNet import L1Loss, NegativeLogLikelihood, initialise_actnorms
from src.model.implementation import CPU, choose
from src.model_utils.config import get_config
from src.model_utils.device_adapter import get_adapter
from src.model_utils.local_adapter import is_scheduler
from src.model_utils.options import changes, differences, network_differences
from src.model_utils.util import (
    bar_interval,
    init_distributed,
    not_fatal,
    run_main,
    serve_ranks,
    set_device,
    set_seed,
    warn,
)
from src.network_names import IMAGE_ONLY, with_prefix
from src.scheduler.scheduler import make_schedule
from src.training.output import outlive_output
from src.training.progress import Progress, TimedBatches, near_singular
from src.training.ranks import Ranks
from src.training.run_folder import RunFolder
from src.training.signals import StopSignals
from src.training.train_step import AccumulatedTrainStep, Adam, TrainStep
from src.training.training_log import TrainingLog
from src.training.validation import make_validation
from src.weights.checkpoint import (
    TRAINING,
    Checkpoint,
    CheckpointError,
    load_parameters,
    parameter_arrays,
    read_checkpoint,
)
from src.weights.weight_files import read_any

# What a validation's figure depends on besides the network. Figures are comparable only where these are the same.
VALIDATED_WITH = (
    "datasets.val.dataroot",
    "datasets.train.quant",
    "datasets.train.HR_size",
    "train.val_images",
    "train.manual_seed",
)


class TrainingStopped(ValueError):
    """Training cannot go on; the message says why and which checkpoint is good."""


def main(argv=None):
    """Run the command line and return the exit status."""
    with outlive_output():
        _, opt = get_config("train", argv)
        if is_scheduler():
            return serve_ranks()
        adapter = get_adapter(opt)
        return adapter.moxing_wrapper(opt)(train)(opt, adapter.get_rank_id(), adapter.get_device_num())


def train(opt, rank_id=0, rank_size=1):
    """Train from the run's beginning or its newest checkpoint to `train.niter` steps or a signal.

    Args:
        opt: Options.
        rank_id, rank_size: this process among those that train together.

    Returns:
        the exit status.

    Raises:
        CheckpointError, DataError: a checkpoint or the data cannot be used.
        TrainingStopped: too many steps in a row were not finite.
        ValueError: the run's folder, the device or the ranks do not fit the options.
    """
    folder = RunFolder(opt.output_dir, opt.path.keep_checkpoints)
    with folder.locked() if rank_id == 0 else contextlib.nullcontext(), StopSignals() as stop:
        return run(opt, folder, stop, rank_id, rank_size)


def run(opt, folder, stop, rank_id, rank_size):
    """Do what `train` does, in a folder that nobody else writes to.

    Args:
        opt: Options.
        folder: RunFolder.
        stop: StopSignals.
        rank_id, rank_size: this process among those that train together.

    Returns:
        the exit status.
    """
    settings = opt.train
    refuse_to_overwrite(opt, folder)
    set_device(opt.device_target, opt.device_id, opt.allow_tf32)
    init_distributed(rank_id, rank_size)
    set_seed(settings.manual_seed)
    ranks = Ranks(rank_id, rank_size)
    ranks.require_same_options(opt)

    data = make_data(opt, rank_id, rank_size)
    memory = estimate_memory(opt, rank_size) if rank_id == 0 else None
    net, computed, loss = build(opt)
    progress, optimizers = begin_or_resume(opt, folder, net, computed, data, rank_size)
    if rank_size > 1:  # all have read the folder before the first one changes anything in it
        ranks.require_same_arrays(all_arrays(net, optimizers))
    schedule, batches = make_schedule(settings), TimedBatches(pairs(opt, data, progress.step))
    validation = make_validation(opt, net, computed) if rank_id == 0 else None
    log = start_log(opt, folder, net, optimizers, progress) if rank_id == 0 else None
    saved_at = progress.step
    if rank_id == 0:  # not before all that is given has been opened: what cannot be used is told in one line alone
        print(memory, flush=True)
    if validation and is_due(progress.step, settings.val_freq, opt) and not log.has_validation(progress.step):
        validate(validation, folder, log, progress.step)  # at step 0, or where the last one was cut short

    train_step = None
    with tqdm(
        total=settings.niter, initial=progress.step, unit="it", disable=rank_id != 0, mininterval=bar_interval()
    ) as bar:
        for hr, lr in batches:
            if ranks.share_stop(stop) or progress.step >= settings.niter:
                break
            if train_step is None or progress.step == encoder_start(opt):
                trained = trained_at(progress.step, opt, optimizers)
                train_step = make_step(opt, loss, trained, rank_size, progress.loss_scale.dynamic)
            rate = schedule(progress.step)
            train_step.set_loss_scale(progress.loss_scale.value)
            loss_value, norm, finite = train_step.run(hr, lr, rate)
            stop.renew()
            progress.count(loss_value, finite)
            step = progress.step

            bar.set_postfix(
                {
                    "nll" if opt.model == "SRFlow" else "l1": f"{loss_value:.3f}",
                    "lr": f"{rate:.2e}",
                    "data wait": f"{batches.share():.0%}",
                    **({"skipped": progress.skipped} if progress.skipped else {}),
                },
                refresh=False,
            )
            bar.update()
            if progress.bad_in_row >= settings.max_bad_steps:
                raise TrainingStopped(
                    f"step {step}: loss or gradient was not finite in {progress.bad_in_row} steps in "
                    f"a row; stopped. {advice_after_stop(folder)}"
                )
            if rank_id != 0:
                continue
            warning = progress.alarm.update(loss_value) if finite else None
            if warning:
                warn(f"step {step}: {warning}")
            if is_due(step, settings.print_freq, opt) or step == 1:
                log.train(
                    step,
                    loss=progress.take_mean_loss(),
                    lr=rate,
                    grad_norm=norm,
                    skipped=progress.skipped,
                    seconds=progress.seconds(),
                    data_wait=batches.share(restart=True),
                )
            validation_due = validation and is_due(step, settings.val_freq, opt)
            if is_due(step, settings.save_checkpoint_freq, opt) or validation_due:
                with not_fatal(f"step {step} is not saved"):
                    save(opt, folder, net, optimizers, progress)
                    saved_at = step
            if validation_due and not stop.requested:
                validate(validation, folder, log, step)

    if rank_id == 0:
        # Stopped between two saves, or the last save failed. Now its failure is the run's.
        if saved_at != progress.step:
            save(opt, folder, net, optimizers, progress)
        log.close()
    if progress.step >= settings.niter:
        return 0
    print(
        f"stopped by {stop.name} after step {progress.step} of {settings.niter}; the same command"
        f"{'' if opt.path.resume_state == 'auto' else ' with --set path.resume_state=auto'} goes on from there",
        file=sys.stderr,
        flush=True,
    )
    return stop.status


def make_data(opt, rank_id, rank_size):
    """Open the training data and tell of their damaged records."""
    train_set = opt.datasets.train
    data = open_data(opt, rank_id, rank_size, train_set.batch_size)
    if data.damaged and rank_id == 0:
        warn(
            f"{train_set.dataroot}: {len(data.damaged)} of {len(data.damaged) + data.records} records are damaged and "
            "left out:"
        )
        for record, problem in sorted(data.damaged.items())[:10]:
            warn(f"record {record}: {problem}")
    return data


def open_data(opt, rank_id, rank_size, batch_size):
    """Return the TrainData of the options for this rank, in batches, or slices of them, of this size."""
    train_set = opt.datasets.train
    return TrainData(
        train_set.dataroot,
        opt.scale,
        batch_size,
        train_set.HR_size,
        seed=opt.train.manual_seed,
        use_flip=train_set.use_flip,
        noise=train_set.add_noise,
        rank_id=rank_id,
        rank_size=rank_size,
        workers=train_set.num_workers,
        skip_damaged=train_set.skip_damaged,
        accumulate=opt.train.accumulate,
    )


def estimate_memory(opt, rank_size):
    """Return a line that says what training will need of memory, and warn where there is less.

    Processes on a CPU share its memory.
    """
    arranged = choose(opt.implementation).name == CPU
    available = available_memory(opt.device_target, opt.device_id)
    if available is not None and opt.device_target == "CPU":
        available //= rank_size
    known = "" if available is None else f", {gigabytes(available)} available"
    each = " for each process" if rank_size > 1 else ""
    problem = problem_of_training(opt, arranged, available)
    if problem:
        warn(problem)
    return f"memory: about {gigabytes(of_training(opt, arranged))} needed (an estimate){known}{each}"


def build(opt):
    """Build the model that the options describe.

    Returns:
        (network, what the implementation computes it by, loss cell).
    """
    network = opt.network_G
    if opt.model == "RRDB":
        net = RRDBNet(opt.scale, network.nf, network.nb, network.gc, blocks=())
    else:
        net = build_network(opt)
        if opt.train.recompute:
            net.flowUpsamplerNet.recompute_steps()
    if opt.precision == "float16":
        net.compute_in_half()
    implementation = choose(opt.implementation)
    if opt.model == "RRDB":
        computed = implementation.encoder(net)
        return net, computed, L1Loss(computed)
    computed = implementation.network(net)
    quant = opt.datasets.train.quant if opt.datasets.train.add_noise else None
    return net, computed, NegativeLogLikelihood(computed, quant)


def begin_or_resume(opt, folder, net, computed, data, rank_size):
    """Give the network its first parameters, or those of the checkpoint to resume.

    Args:
        opt, folder, net, computed: as above.
        data: this rank's TrainData.
        rank_size: number of processes that train together.

    Returns:
        (Progress, optimizers), the latter as `make_optimizers` makes them.
    """
    progress, arrays = resume(opt, folder, net, rank_size)
    if progress.step == 0 and opt.path.train_pretrain_flow:
        load_whole(opt, net)
        progress.actnorm_initialised = True
    elif progress.step == 0 and opt.path.train_pretrain_model_G:
        load_encoder(opt, net)
    if opt.model == "SRFlow" and not progress.actnorm_initialised:
        # Every rank takes the first batches of all ranks together, as one process with that batch size would.
        first = data if rank_size == 1 else open_data(opt, 0, 1, opt.datasets.train.batch_size * rank_size)
        hr, lr = next(pairs(opt, first, 0))
        initialise_actnorms(net, hr, lr)
    optimizers = make_optimizers(opt, net, computed)
    for optimizer in optimizers.values():
        optimizer.load_state(arrays)
    return progress, optimizers


def make_optimizers(opt, net, computed):
    """Make the optimizers of the flow and of the encoder.

    They are apart because the encoder's may start later, from a fresh state.

    Where the implementation reads a stack of many layers' parameters, it is the stack that is trained. The network's
    own parameters follow only when an optimizer's `write_back` is called.

    Returns:
        {"flow": Adam, "encoder": Adam}, without those that the options do not train.
    """
    settings, implementation = opt.train, choose(opt.implementation)
    encoder_stacks = implementation.encoder_stacks(computed)
    flow_stacks = implementation.flow_stacks(computed) if opt.model == "SRFlow" else []
    for stacks in flow_stacks + encoder_stacks:
        stacks.join()  # also of an encoder that is not trained: otherwise each step would stack it again

    def adam(name, params, stacks):
        return Adam(params, name, settings.beta1, settings.beta2, settings.weight_decay_G, stacks)

    if opt.model == "RRDB":
        return {"encoder": adam("encoder", list(net.get_parameters()), encoder_stacks)}
    optimizers = {"flow": adam("flow", list(net.flowUpsamplerNet.get_parameters()), flow_stacks)}
    if opt.network_G.train_RRDB:
        unused = {param.name for param in net.RRDB.image_only_parameters()}
        trained = [param for param in net.RRDB.get_parameters() if param.name not in unused]
        optimizers["encoder"] = adam("encoder", trained, encoder_stacks)
    return optimizers


def encoder_start(opt):
    """Return the step from which the encoder is trained too."""
    return 0 if opt.model == "RRDB" else int(round(opt.network_G.train_RRDB_delay * opt.train.niter))


def trained_at(step, opt, optimizers):
    """Return the optimizers of the parameters that are trained at a step."""
    return [optimizer for name, optimizer in optimizers.items() if name != "encoder" or step >= encoder_start(opt)]


def make_step(opt, loss, optimizers, rank_size, scaled):
    """Make the step of training, of a whole batch or of one that comes in `train.accumulate` slices.

    Args:
        opt: Options.
        loss: the loss cell.
        optimizers: list of those whose parameters are trained.
        rank_size: number of processes that train together.
        scaled: whether there is a loss scale.

    Returns:
        TrainStep.
    """
    arguments = loss, optimizers, opt.train.grad_clip_norm, rank_size, scaled
    slices = opt.train.accumulate
    return TrainStep(*arguments) if slices == 1 else AccumulatedTrainStep(*arguments, slices)


def pairs(opt, data, step):
    """Yield (hr, lr) batches from a step on, without end.

    Both are float32 (N, 3, H, W), NumPy. hr is dequantised if that is configured.
    """
    while True:
        epoch, start = divmod(step, data.len_batches)
        for hr, lr, noise in data.batches(epoch, start):
            yield (hr if noise is None else dequantise(hr, noise, opt.datasets.train.quant)), lr
            step += 1


def load_encoder(opt, net):
    """Load a pre-trained RRDB from `path.train_pretrain_model_G`, which may be of any kind.

    Its flow is left out if it has one.
    """
    path = opt.path.train_pretrain_model_G
    checkpoint = read_pretrained(path)
    arrays = {name: value for name, value in with_prefix(checkpoint.parameters()).items() if name.startswith("RRDB.")}
    # In pre-training the network's names have no prefix, and the encoder's image is what is trained. A flow has no use
    # for the image.
    encoder, optional = (net, ()) if opt.model == "RRDB" else (net.RRDB, IMAGE_ONLY)
    if opt.model == "RRDB":
        arrays = {name[len("RRDB.") :]: value for name, value in arrays.items()}
    for problem in load_parameters(encoder, arrays, path, opt.path.strict_load, optional):
        tqdm.write(f"{path}: {problem}; left as it was")


def load_whole(opt, net):
    """Load encoder and flow from `path.train_pretrain_model_G`, which may be of any kind, to train both further.

    The layers that only make the encoder's image may be missing, as the flow does not need them.

    Raises:
        CheckpointError: the file has no flow, or one of another network than the options'.
    """
    path = opt.path.train_pretrain_model_G
    if not os.path.lexists(path):
        raise CheckpointError(
            f"path.train_pretrain_model_G: {path}: no such file; put a whole network's weights there, such as "
            "weights/SRFlow_free_4X.safetensors, or give path.train_pretrain_flow=false to begin with an untrained flow"
        )
    checkpoint = read_pretrained(path, opt)
    arrays = checkpoint.parameters()
    if not any(name.startswith("flowUpsamplerNet.") for name in arrays):
        raise CheckpointError(
            f"path.train_pretrain_flow: {path} has an encoder alone; expected a whole network, or false to begin with "
            "an untrained flow"
        )
    of_network = changes(checkpoint.options, opt, network_differences(checkpoint.options, opt))
    if of_network:
        raise CheckpointError(
            f"path.train_pretrain_flow: {path} has another network ({'; '.join(of_network)}); give its network's "
            "configuration, or false to begin with an untrained flow"
        )
    load_parameters(net, arrays, path, optional=IMAGE_ONLY)
    require_usable(net, path)


def read_pretrained(path, opt=None):
    """Read the Checkpoint that `path.train_pretrain_model_G` names, and show what there is to know of the file.

    Args:
        path: the file.
        opt: Options of the network that a file which does not say so is taken to hold, as for `read_any`.
    """
    if not os.path.lexists(path):
        raise CheckpointError(
            f"path.train_pretrain_model_G: {path}: no such file; put an encoder's checkpoint there "
            "(train.py --opt configs/RRDB_DF2K_4X.yml makes one; bash scripts/get_encoder.sh fetches one for 4X; "
            "RRDB_DF2K_4X.pth and the earlier port's DF2K_4X_train.ckpt will do), or give null to begin with an "
            "untrained one"
        )
    checkpoint = read_any(path, opt)
    for note in checkpoint.state.get("notes", ()):
        tqdm.write(f"{path}: {note}")
    return checkpoint


def is_due(step, every, opt):
    """Tell whether a job that is done every so many steps, and at the run's end, is to be done after this step."""
    return step % every == 0 or step == opt.train.niter


def refuse_to_overwrite(opt, folder):
    """Refuse a new run, or one that comes from elsewhere, that would replace what another one left."""
    path = opt.path.resume_state
    if path is None and folder.checkpoints():
        raise ValueError(
            f"output_dir: {opt.output_dir} holds the run of {folder.checkpoints()[0]}; continue it with "
            "path.resume_state=auto, or give another output_dir"
        )
    if path not in (None, "auto") and os.path.isfile(path) and not folder.contains(path) and folder.traces():
        raise ValueError(
            f"{path}: does not lie in output_dir itself, which holds a run already "
            f"({folder.traces()[0]}); continue that one with path.resume_state=auto, or give another "
            "output_dir"
        )


def find_checkpoint(opt, folder):
    """Read the (path, Checkpoint) that `path.resume_state` means; None for a new run."""
    path = opt.path.resume_state
    if path == "auto":
        return folder.read_newest()
    return (path, read_checkpoint(path)) if path else None


def resume(opt, folder, net, rank_size):
    """Restore the parameters, if there is a checkpoint to resume.

    Args:
        opt, folder, net: as above.
        rank_size: number of processes that train together.

    Returns:
        (Progress, arrays): all arrays of the checkpoint; empty for a new run.
    """
    found = find_checkpoint(opt, folder)
    if found is None:
        return Progress(opt, rank_size=rank_size), {}
    path, checkpoint = found
    if checkpoint.kind != TRAINING:
        raise CheckpointError(f"{path}: an {checkpoint.kind} checkpoint; training resumes from a training checkpoint")
    of_network = changes(checkpoint.options, opt, network_differences(checkpoint.options, opt))
    if of_network:
        raise CheckpointError(f"{path}: its run had another network ({'; '.join(of_network)}); use another output_dir")
    load_parameters(net, checkpoint.parameters(), path)
    folder.go_on_from(path, checkpoint.state)
    print(f"resumed from {path} at step {checkpoint.state['step']}", flush=True)
    for change in changes(checkpoint.options, opt):
        print(f"changed since then: {change}", flush=True)
    if checkpoint.state.get("ranks", 1) != rank_size:
        print(f"changed since then: {change_of_ranks(checkpoint, opt, rank_size)}", flush=True)
    return Progress(opt, checkpoint.state, rank_size), checkpoint.arrays


def change_of_ranks(checkpoint, opt, rank_size):
    """Say how many processes trained before and train now, and what that makes of the batch of a step."""
    before = checkpoint.state.get("ranks", 1)
    pairs_before, pairs_now = pairs_per_step(checkpoint.options, before), pairs_per_step(opt, rank_size)
    compared = "as before" if pairs_before == pairs_now else f"not {pairs_before}"
    return f"processes: {before} -> {rank_size}; a step takes {pairs_now} pairs in all, {compared}"


def pairs_per_step(opt, rank_size):
    """Return the number of pairs in a step, of all slices and of all ranks together."""
    return opt.datasets.train.batch_size * opt.train.accumulate * rank_size


def save(opt, folder, net, optimizers, progress):
    """Save everything that resuming needs in one file: parameters, optimizer states, where the run stands, options.

    The 1x1 convolutions that are about to lose their inverse are named in a warning.
    """
    for optimizer in optimizers.values():
        optimizer.write_back()
    arrays = all_arrays(net, optimizers)
    for name, condition in near_singular(arrays):
        warn(
            f"step {progress.step}: {name} is near singular, condition number {condition:.1e}: sampling will be "
            "inexact. Consider resuming from an earlier checkpoint with a smaller train.lr_G"
        )
    folder.save(Checkpoint(TRAINING, opt, arrays, progress.state()))


def all_arrays(net, optimizers):
    """Return the parameters of the network and the states of the optimizers by name."""
    arrays = parameter_arrays(net)
    for optimizer in optimizers.values():
        arrays.update(optimizer.state_arrays())
    return arrays


def advice_after_stop(folder):
    """Say which checkpoint is good, and what to change."""
    advice = "a smaller train.lr_G or with train.grad_clip_norm"
    if folder.checkpoints():
        return f"The last good checkpoint is {folder.checkpoints()[0]}; resume from it with {advice}"
    return f"This run has written no checkpoint yet; start it again with {advice}"


def start_log(opt, folder, net, optimizers, progress):
    """Start the log of a run that begins or goes on.

    Until here the run could still be refused. Now the folder becomes its own, and what is in its way there is set
    aside. A checkpoint from outside becomes the folder's first one, so that `auto` goes on from it, whenever that is.

    Returns:
        TrainingLog.
    """
    folder.remove_leftovers()
    best = None
    if folder.resumed and folder.contains(folder.resumed.path):
        best = folder.set_later_aside()
    elif folder.resumed:
        save(opt, folder, net, optimizers, progress)
    elif opt.model == "SRFlow" and not opt.path.train_pretrain_model_G:
        print(
            "path.train_pretrain_model_G is null: the encoder begins untrained; that of the published run was "
            "pre-trained, as configs/RRDB_*.yml do; bash scripts/get_encoder.sh fetches one for 4X",
            flush=True,
        )
    log = TrainingLog(opt, progress.step, "nll" if opt.model == "SRFlow" else "l1")
    folder.best_figure = figure_of(best, opt, log)
    return log


def figure_of(best, opt, log):
    """Return the figure of the validation of `best`.

    Args:
        best: Best or None.
        opt: Options of the run.
        log: TrainingLog.

    Returns:
        float; infinity without a best, None if the figure is unknown or not comparable.
    """
    if best is None:
        return math.inf
    return None if set(differences(best.options, opt)) & set(VALIDATED_WITH) else log.figure_at(best.step)


def validate(validation, folder, log, step):
    """Run a validation, mark the step's checkpoint if it is the best so far, and log figures and pictures."""
    figures, picture = validation()
    if step > 0:
        with not_fatal("best.ckpt"):
            folder.mark_best(step, figures[log.figure])
    log.validation(step, figures, picture)  # last: a validation that is cut short before this is done again
    tqdm.write(f"validation at step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))


if __name__ == "__main__":
    run_main(main)
