# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Build empty stand-ins for the CUDA libraries that mindspore-gpu 1.7.0 links to.

mindspore-gpu 1.7.0 does not import on a machine without CUDA, not even to run on the CPU, because the dynamic linker
wants seven CUDA libraries (docs/mindspore-1.7.md, 21). The stand-ins export exactly the symbols that the installed
wheel asks for, under the symbol versions that it asks for, and every function returns 100: cudaErrorNoDevice. So the
wheel imports and runs with device_target CPU, and finds no GPU. They are for that only: never put them before a real
CUDA on LD_LIBRARY_PATH.

    python scripts/make_cuda_stand_ins.py SITE_PACKAGES/mindspore OUT_DIR
    LD_LIBRARY_PATH=OUT_DIR:SITE_PACKAGES/mindspore/lib python -c "import mindspore"

It needs a C compiler (``cc``, or the one that CC names) and ``nm``.
"""

import argparse
import collections
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Library -> what its functions' names begin with. The driver's, libcuda.so.1, take the names that no other claims.
LIBRARIES = collections.OrderedDict(
    [
        ("libcublas.so.11", r"cublas"),
        ("libcudnn.so.8", r"cudnn"),
        ("libcusolver.so.11", r"cusolver"),
        ("libcufft.so.10", r"cufft"),
        ("libcurand.so.10", r"curand"),
        ("libcudart.so.11.0", r"(__)?cuda"),
        ("libcuda.so.1", r"cu[A-Z]"),
    ]
)
NO_DEVICE = 100


def shared_libraries(mindspore_dir):
    """Paths of the shared libraries of a MindSpore installation."""
    return glob.glob(os.path.join(mindspore_dir, "*.so*")) + glob.glob(os.path.join(mindspore_dir, "lib", "*.so*"))


def undefined_symbols(path):
    """Pairs (name, version) of the symbols that a shared library wants from others; version is "" where it has none."""
    listing = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", path], check=True, capture_output=True, text=True
    ).stdout
    for line in listing.splitlines():
        name, _, version = line.split()[-1].partition("@")
        yield name, version.lstrip("@")


def cuda_symbols(mindspore_dir):
    """{library: {version: set of names}} of all CUDA functions that a MindSpore installation wants."""
    wanted = {library: collections.defaultdict(set) for library in LIBRARIES}
    for path in shared_libraries(mindspore_dir):
        for name, version in undefined_symbols(path):
            library = library_of(name, version)
            if library is not None:
                wanted[library][version].add(name)
    return wanted


def library_of(name, version):
    """The library that a symbol belongs to, or None: a version that is a library's name decides, then the prefix."""
    for library, prefix in LIBRARIES.items():
        if re.match(prefix, name):
            return version if version in LIBRARIES else library
    return None


def build(library, symbols, folder):
    """Compile one stand-in into ``folder``; ``symbols`` is {version: set of names}."""
    names = sorted(set().union(*symbols.values())) if symbols else []
    source = os.path.join(folder, library + ".c")
    with open(source, "w") as file:
        file.write("\n".join(f"int {name}(void) {{ return {NO_DEVICE}; }}" for name in names) or "int empty;")
        file.write("\n")
    command = [
        os.environ.get("CC", "cc"),
        "-w",
        "-shared",
        "-fPIC",
        "-Wl,-soname," + library,
        "-o",
        os.path.join(folder, library),
        source,
    ]
    versions = "".join(
        f"{version} {{ global: {'; '.join(sorted(those))}; }};\n"
        for version, those in sorted(symbols.items())
        if version
    )
    if versions:
        script = os.path.join(folder, library + ".map")
        with open(script, "w") as file:
            file.write(versions)
        command.insert(1, "-Wl,--version-script=" + script)
    subprocess.run(command, check=True)
    return len(names)


def main(argv=None):
    """Build all stand-ins; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build stand-ins for the CUDA libraries of mindspore-gpu 1.7.0.")
    parser.add_argument("mindspore_dir", help="the installed package's folder, SITE_PACKAGES/mindspore")
    parser.add_argument("out_dir", help="folder for the libraries, made if missing")
    args = parser.parse_args(argv)
    for tool in ("nm", os.environ.get("CC", "cc").split()[0]):
        if shutil.which(tool) is None:
            print(f"error: {tool} is not installed; on Debian or Ubuntu: apt-get install gcc", file=sys.stderr)
            return 2
    if not shared_libraries(args.mindspore_dir):
        print(f"error: {args.mindspore_dir} is no installed MindSpore: it holds no shared libraries", file=sys.stderr)
        return 2
    os.makedirs(args.out_dir, exist_ok=True)
    wanted = cuda_symbols(args.mindspore_dir)
    with tempfile.TemporaryDirectory(dir=args.out_dir) as folder:
        for library in LIBRARIES:
            count = build(library, wanted[library], folder)
            os.replace(os.path.join(folder, library), os.path.join(args.out_dir, library))
            print(f"{library}: {count} functions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
