"""The road, in order: `nox -l` tells it, `nox -s bench` does whatever is missing before it."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["bench"]

ROOT = Path(__file__).parent
ENVIRONMENTS = ROOT / "build" / "environments"
TORCH = "torch==2.13.0"  # installed alone, first: pip then takes whichever build it is pointed at
CONTENDERS = {
    path.parent.name: str(path.relative_to(ROOT).with_suffix(".txt"))
    for path in sorted((ROOT / "bench" / "contenders").glob("*/requirements.in"))
}
LOCKS = {
    "optimize": "optimize/requirements.txt",
    "runtime": "lambda_image/requirements.txt",
    **CONTENDERS,
    "bench": "bench/requirements.txt",
    "tests": "tests/requirements.txt",
}
WITH_TORCH = ("optimize", "plan", "optimum")
HASHED = ("runtime",)
MEASURED = ("runtime", *CONTENDERS)
INSTALLERS = ("setuptools", "pip")  # an image carries neither, and the first makes every start of Python 2 ms slower
LEFT_OUT = ("torch", "openvino-telemetry")  # the second would report to its maker whatever is quantized


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train the built-in model, or fine-tune another (`-- scratch --data FOLDER`, `-- finetune --help`)."""
    run(session, "optimize", "-m", "optimize.train", *session.posargs)


@nox.session
def export(session: nox.Session) -> None:
    """Load the model source and export it to ONNX, with torch's answers as the reference."""
    run(session, "optimize", "-m", "optimize", "export", *session.posargs)


@nox.session(requires=["export"])
def quantize(session: nox.Session) -> None:
    """Build the recipes' variants: fused, int8, mapped, pruned, and the native encoder."""
    run(session, "optimize", "-m", "optimize", "quantize", *session.posargs)


@nox.session
def runtime(session: nox.Session) -> None:
    """Install exactly what the image ships: its hash-locked requirements."""
    environment(session, "runtime")


@nox.session(requires=["export"])
def contenders(session: nox.Session) -> None:
    """Install the contenders from outside, each its own locked environment, and prepare the models they serve."""
    for name in CONTENDERS:
        environment(session, name)
    run(session, "bench", "-m", "bench.peers", *session.posargs)


@nox.session(requires=["quantize", "runtime", "contenders"])
def bench(session: nox.Session) -> None:
    """Measure cold starts and warm answers of what ships, then choose and report (`-- --quick`: minutes)."""
    run(session, "bench", "-m", "bench", "run", *session.posargs)
    session.notify("choose")
    session.notify("report")


@nox.session
def choose(session: nox.Session) -> None:
    """Decide the newest run: gates, objective, tie-break, and a reason for every loser."""
    run(session, "bench", "-m", "bench", "choose", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Generate results/README.md, its figure and results/summary.json from the newest run."""
    run(session, "bench", "-m", "bench", "report", *session.posargs)


@nox.session(requires=["quantize", "runtime"])
def serve(session: nox.Session) -> None:
    """Serve the winner on http://127.0.0.1:9000, callable as a Lambda by curl or any AWS SDK."""
    run(session, "bench", "-m", "bench", "serve", *session.posargs)


@nox.session(requires=["runtime"])
def tests(session: nox.Session) -> None:
    """Run the fast tests, then training and the whole road on tiny models."""
    run(session, "tests", "-m", "pytest", "tests/unit", *session.posargs)
    for name in (*CONTENDERS, "bench"):
        environment(session, name)
    run(session, "optimize", "-m", "pytest", "tests/pipeline", "tests/training", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, and who imports whom."""
    run(session, "tests", "-m", "ruff", "check")
    run(session, "tests", "-m", "ruff", "format", "--check")
    run(session, "tests", "-c", "from importlinter.cli import lint_imports_command as lint; lint()")


@nox.session
def types(session: nox.Session) -> None:
    """Check the annotations of everything but the tests."""
    run(session, "tests", "-m", "mypy")


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Resolve every requirements.in into its lock; torch stays out, since it is installed alone."""
    session.run(sys.executable, "-m", "pip", "install", "--quiet", "uv", external=True)
    left_out = ROOT / "build" / "left_out.txt"
    left_out.parent.mkdir(exist_ok=True)
    left_out.write_text("".join(f"{name} ; python_version < '3'\n" for name in LEFT_OUT))
    for name, target in LOCKS.items():
        source = target.replace(".txt", ".in")
        options = ["--no-deps", "--generate-hashes"] if name in HASHED else ["--override", str(left_out)]
        session.run(
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--no-annotate",
            "--python-version",
            "3.11",
            *options,
            source,
            "-o",
            target,
            external=True,
        )


def run(session: nox.Session, name: str, *arguments: str) -> None:
    """Run Python with `arguments` in the locked environment `name`."""
    session.run(str(environment(session, name)), *arguments, external=True)


def environment(session: nox.Session, name: str) -> Path:
    """The interpreter of a locked environment, made when its lock is new and used again while it is not."""
    lock_file, folder = ROOT / LOCKS[name], ENVIRONMENTS / name
    stamp, wanted = folder / "lock.sha256", hashlib.sha256(lock_file.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        session.log(f"installing the environment {name!r} from {LOCKS[name]}")
        _install(folder, lock_file, name)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def _install(folder: Path, lock_file: Path, name: str) -> None:
    """The locks are for Python 3.11, the image's own; beside torch each is complete, so nothing else may come along.

    What is measured ends without the installers.
    """
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f"error: nox runs under Python {sys.version.split()[0]}\n  -> install it with Python 3.11, as the README says"
        )
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if name in WITH_TORCH:
        subprocess.run([*pip, TORCH], check=True)
    strict = ["--require-hashes"] if name in HASHED else []
    subprocess.run([*pip, "--no-deps", *strict, "-r", lock_file], check=True)
    if name in MEASURED:
        subprocess.run([*pip[:3], "uninstall", "--quiet", "--yes", *INSTALLERS], check=True)
