# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Times the full 4X network (nb 23, K 16) with seeded weights, beside the official PyTorch code's figures.

    python benchmarks/run.py [--only NAME ...] [--repeats N] [--implementation auto|plain|cpu] [--json FILE]
                             [--torch_python PYTHON] [--device_target CPU|GPU|Ascend] [--device_id N]

Each case runs in a process of its own. Times are medians after compilation, and given too in T, the time of one
torch.nn.functional.conv2d 1×320×80×80 -> 64, 3×3, float32 on the same device, which is measured in another process
before and after each case (by --torch_python, an interpreter that has torch; without one only seconds are given). Of
the two measurements the smaller one is used, so that on a busy machine figures in T are too large rather than too
small. Samplers are made from an inference checkpoint, as users make them; another process writes it. The cases `onnx_…`
are of the files that export.py makes of it, computed by onnxruntime on the CPU, in processes without MindSpore.

Other devices than the CPU have not been tried. There the official code's figures, which are a CPU's, are left out, and
peak memory is the process's own, not the device's.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
YML = os.path.join(ROOT, "SRFlow_DF2K_4X.yml")
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]

# The official PyTorch code with torch 2.13 on two cores: T, and peak memory in GB where it was measured.
OFFICIAL = {
    "sample_first": (100, 1.1),
    "sample_more": (100, None),
    "sample_batch4": (365, None),
    "encode": (100, None),
    "train_1": (320, 1.9),
    "train_2": (570, 2.9),
    "determinants": (31, None),
}

TORCH_UNIT = """
import sys, time, torch
device = torch.device(sys.argv[1])
x, w = torch.randn(1, 320, 80, 80, device=device), torch.randn(64, 320, 3, 3, device=device)
torch.backends.cudnn.allow_tf32 = False
times = []
with torch.no_grad():
    for _ in range(60):
        start = time.perf_counter()
        torch.nn.functional.conv2d(x, w, padding=1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
print(sorted(times[10:])[25])
"""


class Clock:
    """Times one case, in seconds: start-up (imports, network, weights), first call (compiles), then each repetition.

    checkpoint: the path of the inference checkpoint; implementation: which computes the network; device: its kind and
    number.
    """

    def __init__(self, repeats, checkpoint, implementation, device):
        self.repeats, self.checkpoint, self.implementation = repeats, checkpoint, implementation
        self.device = device
        self.begin = time.perf_counter()
        self.startup, self.first, self.times, self.notes = None, None, [], {}

    def run(self, call, units=1):
        """Times a call that does the case's work `units` times."""
        for number in range(1 + self.repeats):
            start = time.perf_counter()
            call()
            self.record(number, start, units)

    def record(self, number, start, units=1):
        """The call of this number, begun at `start`, has ended."""
        seconds = time.perf_counter() - start
        if number == 0:
            self.startup, self.first = start - self.begin, seconds
        else:
            self.times.append(seconds / units)


def make_network(device=("CPU", 0)):
    import numpy as np  # here: the start-up is timed
    from mindspore import Tensor
    from seeded_weights import seeded_state

    from src.model.SRFlow import build_network
    from src.model_utils.options import load_options
    from src.model_utils.util import set_device

    set_device(*device)
    opt = load_options(YML)
    np.random.seed(0)
    net = build_network(opt)
    # Those of the tests: fresh ones decode to infinities, which are no time that anybody sees.
    state = seeded_state({parameter.name: tuple(parameter.shape) for parameter in net.get_parameters()}, 1)
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(state[parameter.name]))
    return net, opt


def write_inference_checkpoint(path):
    from src.network_names import IMAGE_ONLY  # here, as in the cases
    from src.weights.checkpoint import INFERENCE, Checkpoint, parameter_arrays, write_checkpoint

    net, opt = make_network()
    arrays = {name: value for name, value in parameter_arrays(net).items() if not name.startswith(IMAGE_ONLY)}
    write_checkpoint(path, Checkpoint(INFERENCE, opt, arrays, {"step": 0}))


def make_model(clock):
    from src.model.SRFlow import SRFlow  # here: the start-up is timed

    return SRFlow.from_checkpoint(clock.checkpoint, None, *clock.device, implementation=clock.implementation)


def make_onnx_model(clock):
    from src.export.onnx_model import OnnxSRFlow  # here: the start-up is timed

    return OnnxSRFlow(clock.checkpoint)


def sample_case(lr_shape, make=make_model):
    """One sample of a new image each time, by the model that `make` makes."""

    def run(clock):
        import numpy as np  # here: the start-up is timed

        model, random = make(clock), np.random.RandomState(0)
        clock.run(lambda: model.sample(random.random_sample(lr_shape).astype(np.float32), seed=0))

    return run


def sample_more_case(make=make_model, n=8):
    """A further sample of the same image, by the model that `make` makes."""

    def run(clock):
        import numpy as np  # here: the start-up is timed

        model, lr = make(clock), np.random.RandomState(0).random_sample((1, 3, 40, 40)).astype(np.float32)
        model.sample(lr)
        clock.run(lambda: model.sample(lr, n=n), n)

    return run


def encode_case(clock):
    """Latents and NLL of a new pair of images each time."""
    import numpy as np  # here: the start-up is timed

    model, random = make_model(clock), np.random.RandomState(0)
    clock.run(
        lambda: model.encode(*[random.random_sample((1, 3, side, side)).astype(np.float32) for side in (160, 40)])
    )


def train_case(batch):
    def run(clock):
        import numpy as np  # here: the start-up is timed

        from src.model.SRFlowNet import NegativeLogLikelihood
        from src.model.implementation import choose
        from src.model_utils.options import load_options
        from src.training.train_step import TrainStep
        from train import make_optimizers

        net, _ = make_network(clock.device)
        opt = load_options(YML, [f"implementation={clock.implementation}"])
        computed = choose(opt.implementation).network(net)
        step = TrainStep(NegativeLogLikelihood(computed), list(make_optimizers(opt, net, computed).values()))
        rng = np.random.RandomState(0)
        hr, lr = (rng.random_sample((batch, 3, side, side)).astype(np.float32) for side in (160, 40))
        clock.run(lambda: step.run(hr, lr, 1e-5))

    return run


def determinants_case(clock):
    import numpy as np  # here: the start-up is timed
    from mindspore import Tensor, nn, ops

    from src.model.slogdet import SLogDet
    from src.model_utils.util import set_device

    set_device(*clock.device)

    class Total(nn.Cell):
        def __init__(self):
            super().__init__()
            self.slogdet = SLogDet()

        def construct(self, a, b, c):
            return self.slogdet(a)[1].sum() + self.slogdet(b)[1].sum() + self.slogdet(c)[1].sum()

    class Gradient(nn.Cell):
        def __init__(self):
            super().__init__()
            self.total, self.grad = Total(), ops.GradOperation(get_all=True)

        def construct(self, a, b, c):
            return self.grad(self.total)(a, b, c)

    rng = np.random.RandomState(0)
    stacks = [Tensor(np.linalg.qr(rng.randn(18, size, size))[0].astype(np.float32)) for size in (12, 24, 96)]
    gradient = Gradient()
    clock.run(lambda: [g.asnumpy() for g in gradient(*stacks)])


def evaluation_case(clock, patches=100):
    """What eval.py does with MindRecord patches, per patch; notes the share of the time spent in the network."""
    from skimage.data import astronaut  # here: the start-up is timed

    from src.dataloader.dataset import EvalData
    from src.dataloader.prepare import prepare_images
    from src.evaluation.figures import evaluate_image

    model, network = make_model(clock), []

    def timed(cell):
        def call(*inputs):
            start = time.perf_counter()
            outputs = cell(*inputs)
            wait_for(outputs)
            network.append(time.perf_counter() - start)
            return outputs

        return call

    for name in ("condition", "encode", "decode"):
        setattr(model._sampler, name, timed(getattr(model._sampler, name)))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "patches.mindrecord")
        prepare_images([("astronaut", astronaut())], path, per_image=patches + 1, progress=False)
        start = time.perf_counter()
        for number, (_, hr, lr) in enumerate(EvalData(path, 4)):
            if number == 1:
                network.clear()  # of the call that compiles
            evaluate_image(model, lr, hr, 0.9, 1, number)
            clock.record(number, start)
            start = time.perf_counter()
    clock.notes["network_share"] = sum(network) / sum(clock.times)


def wait_for(outputs):
    """Until all tensors in nested tuples are computed."""
    if isinstance(outputs, tuple):
        for output in outputs:
            wait_for(output)
    elif hasattr(outputs, "asnumpy"):
        outputs.asnumpy()


CASES = {
    "sample_first": sample_case((1, 3, 40, 40)),
    "sample_more": sample_more_case(),
    "sample_batch4": sample_case((4, 3, 40, 40)),
    "sample_120x80": sample_case((1, 3, 80, 120)),
    "onnx_first": sample_case((1, 3, 40, 40), make_onnx_model),
    "onnx_more": sample_more_case(make_onnx_model),
    "onnx_batch4": sample_case((4, 3, 40, 40), make_onnx_model),
    "onnx_120x80": sample_case((1, 3, 80, 120), make_onnx_model),
    "encode": encode_case,
    "train_1": train_case(1),
    "train_2": train_case(2),
    "train_4": train_case(4),
    "determinants": determinants_case,
    "evaluation": evaluation_case,
}
ONNX = {"onnx_first", "onnx_more", "onnx_batch4", "onnx_120x80"}
WITHOUT_SAMPLER = {"train_1", "train_2", "train_4", "determinants"}


def run_case(name, repeats, checkpoint, implementation, device):
    """In the case's own process: prints one line of JSON."""
    clock = Clock(repeats, checkpoint, implementation, device)
    CASES[name](clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # of KiB
    print(
        json.dumps(
            {
                "case": name,
                "seconds": statistics.median(clock.times),
                "first_call": clock.first,
                "startup": clock.startup,
                "peak_gb": peak,
                "version": version_of(*(("onnxruntime",) if name in ONNX else ("mindspore", "mindspore-gpu"))),
                **clock.notes,
            }
        )
    )


def version_of(*packages):
    """The first of these packages that is installed, with its version; None where Python 3.7 cannot tell."""
    try:
        from importlib import metadata  # here, as Python 3.7 has none
    except ImportError:
        return None
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{package} {metadata.version(package)}"
    return None


def torch_unit(python, target, number):
    """T in seconds on this device, or None without a torch that has it."""
    if python is None or target == "Ascend":
        return None
    device = {"CPU": "cpu", "GPU": f"cuda:{number}"}[target]
    done = subprocess.run([python, "-c", TORCH_UNIT, device], capture_output=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def run_again(*arguments):
    """What this program prints in a process of its own."""
    done = subprocess.run([sys.executable, os.path.abspath(__file__), *arguments], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"benchmark: {' '.join(arguments)} ended with status {done.returncode}")
    return done.stdout.decode()


def measure(name, options, checkpoint):
    """One case in its own process, T before and after it."""
    device = options.device_target, options.device_id
    units = [torch_unit(options.torch_python, *device)]
    settings = "--repeats", str(options.repeats), "--implementation", options.implementation
    settings += "--device_target", device[0], "--device_id", str(device[1])
    printed = run_again("--case", name, *settings, "--checkpoint", checkpoint)
    units.append(torch_unit(options.torch_python, *device))
    figures = json.loads(printed.strip().splitlines()[-1])
    if None not in units:
        figures["T_ms"] = [1e3 * unit for unit in units]
        figures["T"] = figures["seconds"] / min(units)
        figures["official_T"], figures["official_peak_gb"] = official(name, device[0])
    return figures


def official(name, target):
    """T and peak memory of the official code, or None and None."""
    return OFFICIAL.get(name, (None, None)) if target == "CPU" else (None, None)


def table_line(figures, target):
    official_T, official_gb = official(figures["case"], target)
    columns = [
        f"{figures['case']:14s}",
        f"{figures['seconds']:9.3f}",
        _number(figures.get("T"), 8, 1),
        _number(official_T, 8, 0),
    ]
    columns += [
        _number(figures["T"] / official_T if official_T and "T" in figures else None, 6, 2),
        f"{figures['startup']:8.1f}",
        f"{figures['first_call']:10.1f}",
        f"{figures['peak_gb']:8.2f}",
        _number(official_gb, 8, 1),
    ]
    columns += [f"{100 * figures['network_share']:.1f} % in the network"] if "network_share" in figures else []
    return " ".join(columns)


def _number(value, width, digits):
    return "-".rjust(width) if value is None else f"{value:{width}.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--implementation", choices=("auto", "plain", "cpu"), default="auto")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--torch_python", default=sys.executable, help="interpreter that has torch (default: this one)")
    parser.add_argument("--device_target", choices=("CPU", "GPU", "Ascend"), default="CPU")
    parser.add_argument("--device_id", type=int, default=0)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument("--write_checkpoint", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        device = options.device_target, options.device_id
        run_case(options.case, options.repeats, options.checkpoint, options.implementation, device)
        return
    if options.write_checkpoint:
        write_inference_checkpoint(options.write_checkpoint)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure_all(options, os.path.join(folder, "SRFlow.ckpt"))


def measure_all(options, checkpoint):
    if not set(options.only) <= WITHOUT_SAMPLER:
        run_again("--write_checkpoint", checkpoint)
    if ONNX & set(options.only):
        export = os.path.join(ROOT, "export.py")
        subprocess.run([sys.executable, export, "--ckpt", checkpoint, "--file_name", checkpoint], check=True)
    print(
        f"{'case':14s} {'seconds':>9s} {'T':>8s} {'official':>8s} {'ratio':>6s} {'start-up':>8s} {'first call':>10s} "
        f"{'peak GB':>8s} {'official':>8s}",
        flush=True,
    )
    results = []
    for name in options.only:
        results.append(measure(name, options, checkpoint))
        print(table_line(results[-1], options.device_target), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
