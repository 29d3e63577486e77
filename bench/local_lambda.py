"""A Lambda on this machine: the Runtime API for one real awslambdaric process, and Lambda's invoke endpoint.

Whatever the process does (fails its init, raises, hangs, is killed) is an outcome of an `Invocation`, never a crash
here; the next invocation starts a fresh process, as Lambda does. Refuses to run two invocations at once.
"""

import contextlib
import json
import queue
import re
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.functions import Function
from bench.limits import Limits, lambda_cpus, pin
from workbench.records import Outcome, Regime

RUNTIME_PREFIX = "/2018-06-01/runtime"
INVOKE_PATH = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
STOP_SECONDS = 2.0
# In MB of 2**20 bytes, as Lambda's memory sizes: the file and field of /proc/<pid>, and the field's unit in bytes.
FOOTPRINT = {
    "peak_mb": ("status", "VmHWM", 1024),  # the most memory held at once, mapped files included
    "mapped_mb": ("status", "RssFile", 1024),  # file pages held now: mapped weights and libraries that were touched
    "read_mb": ("io", "read_bytes", 1),  # what came from the disk, none of it where the page cache had all
    "copied_mb": ("io", "rchar", 1),  # what read calls copied, from files, pipes and sockets, cached or not
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a function process is run: memory in MB, threads (0: the library's own default), CPU regime, limits."""

    memory_mb: int
    threads: int
    regime: Regime
    limits: str
    timeout_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """What came of one request; times in ms.

    `init_ms` and `cold_ms` (process start to first request taken, to answer) are None on a warm process.
    """

    outcome: Outcome
    body: bytes = b""
    detail: str = ""
    duration_ms: float | None = None
    init_ms: float | None = None
    cold_ms: float | None = None


class _Process:
    """One execution environment: a process, its limits, and the two queues between it and `invoke`."""

    def __init__(self, function: Function, settings: Settings, address: str, log: int | None) -> None:
        self.requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[Outcome, bytes]] = queue.SimpleQueue()
        self.first_next_ns = self.delivered_ns = self.answered_ns = 0
        self._settings = settings
        self._limits = Limits(settings.limits, settings.memory_mb)
        if settings.regime == "throttled":
            self._limits.set_cpus(lambda_cpus(settings.memory_mb))
        command = pin([str(function.python), "-m", "awslambdaric", function.handler], settings.memory_mb)
        environment = _environment(function, settings, address)
        self.started_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            self._limits.command(command), cwd=function.task_root, env=environment, stdout=log, stderr=log
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def next_request(self) -> bytes | None:
        """Wait for the next request; the first call ends init, and with it Lambda's CPU burst."""
        if not self.first_next_ns:
            self.first_next_ns = time.monotonic_ns()
            self._limits.set_cpus(lambda_cpus(self._settings.memory_mb))
        body = self.requests.get()
        self.delivered_ns = time.monotonic_ns()
        return body

    def finish(self, outcome: Outcome, body: bytes) -> None:
        """Take the process's answer to the request it has."""
        self.answered_ns = time.monotonic_ns()
        self.results.put((outcome, body))

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def footprint(self) -> dict[str, float]:
        """The metrics of `FOOTPRINT` that this kernel tells."""
        folder = Path(f"/proc/{self._process.pid}")
        fields = {name: _fields(folder / name) for name in ("status", "io")}
        return {
            metric: fields[name][field] * unit / 2**20
            for metric, (name, field, unit) in FOOTPRINT.items()
            if field in fields[name]
        }

    def stop(self) -> None:
        """End the process and remove its limits."""
        self._process.kill()
        self._watcher.join(STOP_SECONDS)
        self.requests.put(None)
        self._limits.remove()

    def _watch(self) -> None:
        code = self._process.wait()
        outcome: Outcome = "oom" if self._limits.killed_for_memory() else "crashed"
        self.results.put((outcome, f"the process ended with code {code}".encode()))


class LocalLambda:
    """One function behind a Runtime API server on loopback; a context manager."""

    def __init__(
        self, function: Function, settings: Settings, *, port: int = 0, log: int | None = subprocess.DEVNULL
    ) -> None:
        self.settings = settings
        self._function, self._log = function, log
        self._process: _Process | None = None
        self._one_at_a_time = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _request_handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "LocalLambda":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_process()
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, body: bytes) -> Invocation:
        """Send one request, starting a process first if none is alive."""
        with self._one_at_a_time:
            is_cold = self._process is None or not self._process.is_alive()
            if is_cold:
                self._stop_process()
                self._process = _Process(self._function, self.settings, self.address, self._log)
            process = self._process
            assert process is not None
            process.requests.put(body)
            try:
                outcome, answer = process.results.get(timeout=self.settings.timeout_s)
            except queue.Empty:
                outcome, answer = "timeout", f"no answer within {self.settings.timeout_s} s".encode()
            invocation = _describe(process, outcome, answer, is_cold)
            if outcome not in ("ok", "handler_error"):
                self._stop_process()
            return invocation

    def footprint(self) -> dict[str, float]:
        """What the live process has held and read so far, in MB: see `FOOTPRINT`."""
        assert self._process is not None, "nothing was invoked yet"
        return self._process.footprint()

    def process(self) -> _Process | None:
        """The current execution environment, for the Runtime API."""
        return self._process

    def _stop_process(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


def _fields(path: Path) -> dict[str, int]:
    """The whole numbers by name in one of /proc's files; none where this kernel has no such file or hides it."""
    with contextlib.suppress(OSError):
        return {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", path.read_text(), re.MULTILINE)}
    return {}


def _describe(process: _Process, outcome: Outcome, answer: bytes, is_cold: bool) -> Invocation:
    if outcome != "ok":
        return Invocation(outcome=outcome, body=answer, detail=_error_detail(outcome, answer))
    started, first = process.started_ns, process.first_next_ns
    return Invocation(
        outcome=outcome,
        body=answer,
        duration_ms=(process.answered_ns - process.delivered_ns) / 1e6,
        init_ms=(first - started) / 1e6 if is_cold else None,
        cold_ms=(process.answered_ns - started) / 1e6 if is_cold else None,
    )


def _error_detail(outcome: Outcome, answer: bytes) -> str:
    """What the runtime said; of a handler's error only its type, since a message may quote the request."""
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(answer)
        return str(error.get("errorMessage" if outcome == "init_error" else "errorType", ""))
    return answer.decode(errors="replace")


def _environment(function: Function, settings: Settings, address: str) -> dict[str, str]:
    """What Lambda sets, and nothing of this process's own environment; HOME stays unset."""
    threads = {"THREADS": str(settings.threads)} if settings.threads else {}
    return (
        threads
        | function.environment
        | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings.memory_mb),
            "LAMBDA_TASK_ROOT": str(function.task_root),
            "MODEL_FOLDER": str(function.model_folder),
        }
    )


def _request_handler(function: LocalLambda) -> type[BaseHTTPRequestHandler]:
    """The HTTP side, bound to one `function`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle(self) -> None:
            """A killed process resets its connection; `invoke` reports that, not the server."""
            with contextlib.suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            process = function.process()
            if self.path != f"{RUNTIME_PREFIX}/invocation/next" or process is None:
                return self._send(404, b"{}")
            body = process.next_request()
            if body is None:
                self.close_connection = True
                return None
            deadline = int((time.time() + function.settings.timeout_s) * 1000)
            headers = {
                "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:local:000000000000:function:local",
            }
            return self._send(200, body, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if INVOKE_PATH.fullmatch(self.path):
                return self._invoke(body)
            process, outcome = function.process(), _runtime_outcome(self.path)
            if process is None or outcome is None:
                return self._send(404, b"{}")
            process.finish(outcome, body)
            return self._send(202, b"{}")

        def _invoke(self, body: bytes) -> None:
            try:
                json.loads(body or b"{}")
            except ValueError:
                message = b'{"Type":"User","Message":"Could not parse request body into json"}'
                return self._send(400, message, {"x-amzn-ErrorType": "InvalidRequestContentException"})
            invocation = function.invoke(body or b"{}")
            if invocation.outcome == "ok":
                return self._send(200, invocation.body, {"X-Amz-Executed-Version": "$LATEST"})
            error = {"errorType": invocation.outcome, "errorMessage": invocation.detail}
            return self._send(200, json.dumps(error).encode(), {"X-Amz-Function-Error": "Unhandled"})

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response_only(status)
            fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
            for name, value in fields.items():
                self.send_header(name, value)
            self._headers_buffer.extend((b"\r\n", body))  # type: ignore[attr-defined]
            self.flush_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent: a path or body may carry what a log must not."""

    return Handler


def _runtime_outcome(path: str) -> Outcome | None:
    """The outcome that a POST to the Runtime API reports."""
    if path == f"{RUNTIME_PREFIX}/init/error":
        return "init_error"
    outcomes: dict[str, Outcome] = {"response": "ok", "error": "handler_error"}
    return outcomes.get(path.rpartition("/")[2]) if path.startswith(f"{RUNTIME_PREFIX}/invocation/") else None
