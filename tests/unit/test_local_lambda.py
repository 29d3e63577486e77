"""The local Lambda runs the real awslambdaric, and whatever the function does is an outcome."""

import dataclasses
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config

from bench.limits import detect
from bench.local_lambda import FOOTPRINT, LocalLambda, Settings
from workbench.paths import ROOT

ECHO = "def handler(event, context):\n    return {'echo': event, 'request': context.aws_request_id}\n"


def settings(**changes) -> Settings:
    return Settings(
        **{"memory_mb": 512, "threads": 1, "regime": "burst", "limits": "none", "timeout_s": 20.0} | changes
    )


def test_a_request_is_answered_cold_then_warm(make_function) -> None:
    """The first invocation has init and cold start times, the second, on the same process, has neither."""
    with LocalLambda(make_function(ECHO), settings()) as local:
        cold, warm = local.invoke(b'{"a": 1}'), local.invoke(b'{"a": 2}')
        assert local.footprint()["peak_mb"] > 1
    assert json.loads(cold.body)["echo"] == {"a": 1}
    assert 0 < cold.init_ms < cold.cold_ms
    assert (warm.outcome, warm.cold_ms, warm.init_ms) == ("ok", None, None)
    assert json.loads(cold.body)["request"] != json.loads(warm.body)["request"]


FAILURES = [
    ("init_error", "raise RuntimeError('The model is damaged.')", {}, "The model is damaged."),
    ("init_error", "import not_there", {}, "Unable to import module 'small'"),
    ("handler_error", "def handler(event, context):\n    raise ValueError(event['text'])", {}, "ValueError"),
    (
        "timeout",
        "import time\ndef handler(event, context):\n    time.sleep(60)",
        {"timeout_s": 1.0},
        "no answer within 1.0 s",
    ),
    ("crashed", "import os\ndef handler(event, context):\n    os._exit(3)", {}, "the process ended with code 3"),
]


@pytest.mark.parametrize(("outcome", "source", "changes", "detail"), FAILURES)
def test_a_failure_is_an_outcome_without_the_diary(make_function, outcome, source, changes, detail) -> None:
    """Init errors, handler errors, timeouts and exits are told apart, and none quotes the request."""
    with LocalLambda(make_function(source), settings(**changes)) as local:
        invocation = local.invoke('{"text": "비밀 일기"}'.encode())
    assert invocation.outcome == outcome
    assert detail in invocation.detail
    assert "비밀" not in invocation.detail


def test_a_process_over_its_memory_is_an_oom(make_function) -> None:
    """Where memory can be limited, exceeding it is `oom`; where it cannot, the answer comes."""
    source = "def handler(event, context):\n    return len(bytes(2**28).replace(b'\\0', b'x'))"
    with LocalLambda(make_function(source), settings(limits=detect(), memory_mb=128)) as local:
        assert local.invoke(b"{}").outcome == ("ok" if detect() == "none" else "oom")


def test_a_killed_process_is_replaced(make_function) -> None:
    """After a process is killed from outside, the next invocation starts a fresh one, as Lambda does."""
    with LocalLambda(
        make_function(f"import os\n{ECHO}".replace("'echo': event", "'pid': os.getpid()")), settings()
    ) as local:
        first = json.loads(local.invoke(b"{}").body)["pid"]
        os.kill(first, signal.SIGKILL)
        time.sleep(0.2)
        again = local.invoke(b"{}")
    assert again.outcome == "ok"
    assert again.cold_ms
    assert json.loads(again.body)["pid"] != first


def test_a_throttled_start_is_slower_than_a_burst(make_function) -> None:
    """With the quota from the start, an init that computes takes longer than under Lambda's burst, where limits work."""
    source = f"x = sum(i * i for i in range(2_000_000))\n{ECHO}"
    kind = detect()
    init_ms = {}
    for regime in ("burst", "throttled"):
        with LocalLambda(make_function(source), settings(limits=kind, memory_mb=256, regime=regime)) as local:
            init_ms[regime] = local.invoke(b"{}").init_ms
    assert kind == "none" or init_ms["throttled"] > 2 * init_ms["burst"]


def test_an_aws_sdk_calls_it_like_a_lambda(make_function) -> None:
    """boto3's Lambda client gets the answer from the local endpoint, and a function error as a function error."""
    source = "def handler(event, context):\n    return {'sum': event['a'] + event['b']}"
    with LocalLambda(make_function(source), settings()) as local:
        client = boto3.client(
            "lambda",
            region_name="us-east-1",
            endpoint_url=f"http://{local.address}",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(proxies={}, retries={"max_attempts": 0}),
        )
        good = client.invoke(FunctionName="diary", Payload=b'{"a": 1, "b": 2}')
        bad = client.invoke(FunctionName="diary", Payload=b'{"a": 1}')
        assert json.loads(good["Payload"].read()) == {"sum": 3}
        assert "FunctionError" not in good
        assert bad["FunctionError"] == "Unhandled"


@pytest.mark.parametrize("body", [b"{", b'"\xff"', b"\x80\x81"])
def test_a_body_that_is_no_json_never_reaches_the_function(make_function, body) -> None:
    """The endpoint refuses malformed JSON and bad UTF-8 with 400, as Lambda's own does."""
    with LocalLambda(make_function(ECHO), settings()) as local:
        request = urllib.request.Request(f"http://{local.address}/2015-03-31/functions/f/invocations", body)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert caught.value.headers["x-amzn-ErrorType"] == "InvalidRequestContentException"


def test_nothing_is_left_behind(make_function) -> None:
    """After the context ends, the function's process is gone."""
    with LocalLambda(
        make_function(f"import os\n{ECHO}".replace("'echo': event", "'pid': os.getpid()")), settings()
    ) as local:
        pid = json.loads(local.invoke(b"{}").body)["pid"]
    assert subprocess.run(["kill", "-0", str(pid)], stderr=subprocess.DEVNULL).returncode != 0


def test_the_footprint_tells_mapped_from_copied(make_function, tmp_path) -> None:
    """A process that reads a file has copied it, one that maps and touches it holds it mapped; memory counts both."""
    (tmp_path / "big.bin").write_bytes(b"x" * 2**25)
    uses = {
        "neither": "",
        "read": "content = file.read()",
        "mapped": "content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\ntouched = content[::mmap.PAGESIZE]",
    }
    found = {}
    for name, use in uses.items():
        source = f"import mmap\nfile = open('big.bin', 'rb')\n{use}\n{ECHO}"
        with LocalLambda(make_function(source), settings()) as local:
            assert local.invoke(b"{}").outcome == "ok"
            found[name] = local.footprint()
    assert found["read"]["copied_mb"] > 32 > found["neither"]["copied_mb"]
    assert found["mapped"]["mapped_mb"] > 32 > found["neither"]["mapped_mb"]
    assert min(found["read"]["peak_mb"], found["mapped"]["peak_mb"]) > 32 + found["neither"]["peak_mb"] / 2
    assert set(found["read"]) == set(FOOTPRINT)


def test_the_empty_contender_has_what_the_bench_reads(make_function) -> None:
    """The handler without a model answers with timings of nothing, so that its whole init is the interpreter's."""
    empty = dataclasses.replace(make_function(""), task_root=ROOT / "bench" / "empty", handler="handler.handler")
    with LocalLambda(empty, settings()) as local:
        invocation = local.invoke(b'{"text": "x"}')
    assert json.loads(invocation.body) == {"timings": {"inference_ms": 0.0, "init": {}}}
