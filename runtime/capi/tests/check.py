#!/usr/bin/env python3
"""Compiles the examples and tests in C with the C library, runs them, and compares outputs with `edgepack run`.

    check.py --libraries target/library --demo target/demo --edgepack target/debug/edgepack [--install]
    check.py --libraries target/aarch64-unknown-linux-gnu/library --prefix aarch64-linux-gnu- \\
        --runner 'qemu-aarch64 -cpu cortex-a76 -L /usr/aarch64-linux-gnu' ...
    check.py --folder target/boards/generic-aarch64/libedgepack --prefix aarch64-linux-gnu- --runner ...

`--demo` is the folder that `edgepack demo` writes. `--install` also links the shared library, as installed, by what
pkg-config says; so does `--folder`, for one that `edgepack build --lib` has made, after it was moved. `--java` runs `android/Run.java` on the library, built with the feature `jni`. `--wrapper 'valgrind …'` and `--flags=-fsanitize=…` are for looking deeper. Exit codes: 0 all the
same bytes, 1 not.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
# What the standard library of Rust needs of the system's (`rustc --print native-static-libs`).
SYSTEM = ["-lpthread", "-ldl", "-lm"]
SAMPLES = 64


def array(path, name):
    """The bytes of an array of an .npz: what follows the header of its .npy (version 1)."""
    npy = zipfile.ZipFile(path).read(name + ".npy")
    start = 10 + int.from_bytes(npy[8:10], "little")
    return npy[:start], npy[start:]


def run(command, **options):
    done = subprocess.run([str(word) for word in command], **options)
    if done.returncode != 0:
        sys.exit(f"FAILED ({done.returncode}): {shlex.join(map(str, command))}")
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--libraries", type=Path)
    what.add_argument("--folder", type=Path)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--edgepack", type=Path, required=True)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--runner", default="", help="runs programs of another processor")
    parser.add_argument("--wrapper", default="")
    parser.add_argument("--flags", default="")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--java", action="store_true")
    args = parser.parse_args()
    package, evaluation = args.demo / "digits.epk", args.demo / "evaluation.npz"
    runner = shlex.split(args.runner) + shlex.split(args.wrapper)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        expected_npz = folder / "expected.npz"
        run([args.edgepack, "run", package, "--input", evaluation, "--limit", SAMPLES, "--output", expected_npz, "-q"],
            stdout=subprocess.DEVNULL)
        _, expected = array(expected_npz, zipfile.ZipFile(expected_npz).namelist()[0].removesuffix(".npy"))
        header, pixels = array(evaluation, "x")
        assert b"'|u1'" in header and b"False" in header, header
        pixels = pixels[: SAMPLES * (16 * 16)]
        (folder / "pixels").write_bytes(pixels)

        def compile(source, *libraries):
            language = {".c": ["gcc", "-std=gnu99"], ".cpp": ["g++", "-std=c++14"]}[source.suffix]
            program = folder / f"{source.name}.program"
            run([args.prefix + language[0], *language[1:], "-O2", *WARNINGS, *shlex.split(args.flags), source, "-o",
                 program, *libraries])
            return program

        def same_outputs(program, what, **options):
            outputs = folder / "outputs"
            outputs.unlink(missing_ok=True)
            run([*runner, program, package, folder / "pixels", outputs], **options)
            if outputs.read_bytes() != expected:
                sys.exit(f"FAILED: {what}: other bytes than `edgepack run` has written")
            print(f"{what}: {len(expected)} bytes of {SAMPLES} samples, the same as `edgepack run`", flush=True)

        include = HERE.parent / "include"
        if args.folder:
            installed = folder / "moved"
            shutil.copytree(args.folder, installed, symlinks=True)
            args.libraries, include = installed / "lib", installed / "include"
        elif args.install:
            installed = folder / "usr"
            run([HERE.parent / "install.sh", args.libraries, installed])
        else:
            installed = None

        examples = [HERE.parent / "examples" / name for name in ("run.c", "run.cpp")]
        static = ["-I", include, args.libraries / "libedgepack.a", *SYSTEM]
        for source in examples:
            same_outputs(compile(source, *static), f"{source.name}, static")
        run([*runner, compile(HERE / "arguments.c", *static), package])
        wrapped = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "posix_memalign")]
        run([*runner, compile(HERE / "allocation.c", *static, *wrapped), package])
        if installed:
            paths = os.environ | {"PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
            asked = run(["pkg-config", "--cflags", "--libs", "edgepack"], env=paths, stdout=subprocess.PIPE, text=True)
            for source in examples:
                program = compile(source, *asked.stdout.split())
                same_outputs(program, f"{source.name}, shared by pkg-config",
                             env=os.environ | {"LD_LIBRARY_PATH": str(installed / "lib")})

        if args.java:
            android, classes = HERE.parent / "android", folder / "classes"
            sources = sorted((android / "dev/edgepack").glob("*.java"))
            # What Android takes; the program that tries it may use more.
            run(["javac", "-Xlint:all,-options", "-Werror", "--release", "8", "-d", classes, *sources])
            run(["javac", "-Xlint:all", "-Werror", "-cp", classes, "-d", classes, android / "Run.java"])
            java = folder / "java"
            java.write_text('#!/bin/sh\nexec java -Xcheck:jni -cp "$0.classes" "-Djava.library.path=$0.library" Run "$@"\n')
            java.chmod(0o755)
            (folder / "java.classes").symlink_to(classes)
            (folder / "java.library").symlink_to(args.libraries.resolve())
            same_outputs(java, "Run.java")


main()
