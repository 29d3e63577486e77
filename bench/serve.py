"""A Lambda on the desk: the chosen variant behind the local invoke endpoint, until Ctrl-C."""

import time

from bench import runs
from bench.functions import Function, compile_ahead, shipped
from bench.limits import detect
from bench.local_lambda import LocalLambda, Settings
from workbench.errors import RecordError
from workbench.plan import Plan
from workbench.records import Verdict
from workbench.store import read

PORT = 9000


def serve(plan: Plan, port: int = PORT) -> None:
    """Serve the last verdict's winner, or the plan's last recipe before there is one; prints how to call it."""
    function = _winner(plan)
    compile_ahead(function)
    settings = Settings(
        memory_mb=plan.objective.memory_mb,
        threads=plan.bench.threads[0],
        regime="burst",
        limits=detect(),
        timeout_s=plan.bench.timeout_s,
    )
    with LocalLambda(function, settings, port=port, log=None) as local:
        print(f"{function.name} at {settings.memory_mb} MB, limits: {settings.limits}; Ctrl-C ends it. Try:")
        print(
            f'curl -d \'{{"text":"오늘 친구와 다퉈서 속상했다"}}\' '
            f"http://{local.address}/2015-03-31/functions/function/invocations",
            flush=True,
        )
        while True:
            time.sleep(3600)


def _winner(plan: Plan) -> Function:
    known = {function.name: function for function in shipped(plan)}
    try:
        verdict = read(runs.latest(quick=False) / runs.VERDICT_FILE, Verdict, "choose")
    except RecordError:
        return known[plan.recipes[-1].name]
    return known.get(verdict.winner, known[plan.recipes[-1].name])
