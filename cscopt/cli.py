"""The command line: cscopt demo, code, reconstruct, bank, info."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import cscopt
from cscopt import ConvDictionary, CSCProblem, Solution, bank_command, datasets, io, plot, wisdom
from cscopt import reconstruct as restoration
from cscopt.lowpass import split
from cscopt.solvers import SOLVERS, solve

EXTRAS = {
    "sporco": ("sporco",),
    "ct": ("astra-toolbox",),
    "cuda": ("cupy-cuda13x",),
    "learned": ("torch", "lightning"),
    "cluster": ("distributed",),
    "notebooks": ("jupytext",),
    "test": ("pytest", "hypothesis"),
}
FIGURES = (".png", ".jpg", ".pdf", ".svg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input ends with one sentence and exit status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    command = given.subcommand
    options = given[command].as_dict()
    options.pop("config", None)
    try:
        COMMANDS[command](**options)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"cscopt {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"cscopt {command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="cscopt", description=cscopt.__doc__, version=cscopt.__version__)
    actions = parser.add_subcommands()
    commands = SimpleNamespace(add_subcommand=lambda name, one: actions.add_subcommand(name, one, help=one.description))
    demo_parser = ArgumentParser(description="Code a photograph with four solvers and draw the result.")
    demo_parser.add_argument("-o", "--output", type=str, default="cscopt-demo.png", help="figure to write")
    demo_parser.add_argument("--tol", type=float, default=1e-3, help="relative duality gap to reach")
    commands.add_subcommand("demo", demo_parser)
    code_parser = ArgumentParser(description="Code an image file, scaled to [0, 1].")
    code_parser.add_argument("--config", action="config", help="YAML file of these options")
    code_parser.add_argument("image", type=str, help="image file")
    code_parser.add_argument("--dictionary", type=str, default="natural-8x8x32", help="name or path")
    code_parser.add_argument("--lam", type=float, default=0.05, help="λ, in the units of the image")
    code_parser.add_argument("--lowpass", type=float, default=5.0, help="strength of the low-pass removed; 0: none")
    code_parser.add_argument("--method", type=str, default="auto", help=f"auto, {', '.join(SOLVERS)}")
    code_parser.add_argument("--tol", type=float, default=1e-3, help="relative duality gap to reach")
    code_parser.add_argument("--max-iter", type=int, default=1000, help="iterations at most")
    code_parser.add_argument("--boundary", type=str, default="circular", help="circular, zero, symmetric or none")
    code_parser.add_argument("--nonnegative", action="store_true", help="allow only codes ≥ 0")
    code_parser.add_argument("-o", "--output", type=str, help="codes to write (.safetensors)")
    code_parser.add_argument("--figure", type=str, help="figure to write")
    commands.add_subcommand("code", code_parser)
    commands.add_subcommand("reconstruct", restoration.parser())
    bank_command.add_to(commands)
    commands.add_subcommand("info", ArgumentParser(description="Versions, threads, FFT library, GPUs, extras."))
    return parser


def demo(output: str, tol: float) -> None:
    """Code scikit-image's `camera` by every solver; print a table, write a figure."""
    io.check_target(output, FIGURES)
    image = datasets.picture("camera")
    low, high = split(image[None, None])
    dictionary = ConvDictionary.load("natural-8x8x32")
    problem = CSCProblem(high, dictionary, 0.05)
    print(f"camera, {image.shape[0]}×{image.shape[1]}, low-pass removed; {dictionary}; λ = 0.05")
    _warm_up(dictionary)
    solutions = {}
    for name, iterations in (("working-set", 100), ("admm", 500), ("fista", 500), ("ista", 300)):
        solutions[name] = solve(problem, name, tol=tol, max_iter=iterations, progress=sys.stderr.isatty())
        if solutions[name].status == "stopped":
            raise KeyboardInterrupt
    print(table(solutions))
    plot.save(plot.overview(image, low[0, 0], solutions), output)
    bound = min(solution.gap for solution in solutions.values() if solution.gap is not None)
    print(f"The best answer is at most {100 * bound:.2g} % above the optimum, and that is certain.")
    print(f"figure: {Path(output).resolve()}")


def code(
    image: str,
    dictionary: str,
    lam: float,
    lowpass: float,
    method: str,
    tol: float,
    max_iter: int,
    boundary: str,
    nonnegative: bool,
    output: str | None,
    figure: str | None,
) -> None:
    """Code an image file, write the codes and a figure."""
    if output is None and figure is None:
        raise ValueError("code needs something to write: -o CODES.safetensors, --figure FIGURE.png, or both")
    for name, path, endings in (("--output", output, (".safetensors",)), ("--figure", figure, FIGURES)):
        if path is not None:
            io.check_target(path, endings)
            if Path(path).resolve() in (Path(image).resolve(), Path(dictionary).resolve()):
                raise ValueError(f"{name} must not be a file that is read; got {path}")
    picture = io.load_image(image)
    filters = ConvDictionary.load(dictionary)
    signal = np.moveaxis(picture.reshape((*picture.shape[:2], -1)), -1, 0)[None]
    low, high = _split(signal, lowpass)
    problem = CSCProblem(high, filters, cscopt.L1(lam, nonnegative), boundary=boundary)
    solution = solve(problem, method, tol=tol, max_iter=max_iter, progress=sys.stderr.isatty())
    print(table({solution.solver.name: solution}))
    if method == "auto":
        print(f"{solution.solver.name}, because {solution.reason}")
    if output is not None:
        settings = {"image": image, "dictionary": dictionary, "lam": lam, "lowpass": lowpass, "boundary": boundary}
        numbers = {"objective": solution.objective, "gap": solution.gap, "status": solution.status}
        solution.sparse_codes.save(output, {k: str(v) for k, v in {**settings, **numbers}.items()})
        print(f"codes: {output}")
    if figure is not None:
        smooth = np.moveaxis(low[0], 0, -1).reshape(picture.shape)
        plot.save(plot.overview(picture, smooth, {solution.solver.name: solution}), figure)
        print(f"figure: {figure}")


def info() -> None:
    """Print versions, threads, the FFT library, the GPUs found, and the extras missing."""
    print(f"cscopt {cscopt.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in ("numpy", "scipy", "numba", "pyfftw", "array-api-compat", "safetensors", "scikit-image"):
        print(f"  {package:18}{_version(package) or 'missing'}")
    print(f"threads       {cscopt.get_threads()} (cscopt.set_threads, CSCOPT_NUM_THREADS)")
    print(f"FFT           {wisdom.library()}")
    print(f"GPUs          {_gpus()}")
    print(f"dictionaries  {', '.join(io.shipped())}")
    for extra, packages in EXTRAS.items():
        found = [f"{p} {_version(p)}" for p in packages if _version(p)]
        state = ", ".join(found) if len(found) == len(packages) else f"missing: pip install 'cscopt[{extra}]'"
        print(f"extra {extra:11} {state}")


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "code": code,
    "reconstruct": restoration.reconstruct,
    "bank": bank_command.bank,
    "info": info,
}


def table(solutions: Mapping[str, Solution]) -> str:
    """Method, iterations, seconds, objective, gap, non-zeros and status, a line each."""
    lines = [f"{'method':12}{'iterations':>11}{'seconds':>9}{'objective':>12}{'gap':>10}{'non-zeros':>11}  status"]
    for name, s in solutions.items():
        lines.append(
            f"{name:12}{s.iterations:11}{s.seconds:9.2f}{s.objective:12.4f}{s.gap:10.1e}{s.nonzeros:11}  {s.status}"
        )
    return "\n".join(lines)


def _split(signal: Any, beta: float) -> tuple[Any, Any]:
    if beta == 0:
        return np.zeros_like(signal), signal
    return split(signal, beta, padding=min(16, *signal.shape[2:]))


def _warm_up(dictionary: ConvDictionary) -> None:
    """Compile outside the timing (once a machine: compiled code is cached)."""
    picture = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)  # constant ones have no active coefficient
    small = CSCProblem(picture, dictionary, 0.05)
    for name in SOLVERS:
        if solve(small, name, max_iter=11, tol=0).status == "stopped":
            raise KeyboardInterrupt


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> str:
    try:
        import cupy
    except ImportError:
        return "none usable: CuPy is missing (pip install 'cscopt[cuda]')"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"none found ({error})"
    names = [cupy.cuda.runtime.getDeviceProperties(k)["name"].decode() for k in range(count)]
    return ", ".join(names) or "none found"


if __name__ == "__main__":
    sys.exit(main())
