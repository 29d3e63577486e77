"""One text of a fixed number of tokens, made of the workload's words, so that warm answers can be compared by length.

Refuses to count by itself: it asks the function that ships, whose answers tell their tokens.
"""

import json
from itertools import takewhile

from bench import cold
from bench.local_lambda import LocalLambda
from workbench.errors import BenchError

TOKENS = 64
FILLER = " ."  # one token in every vocabulary known here


def text_of_tokens(local: LocalLambda, texts: tuple[str, ...], tokens: int = TOKENS) -> str:
    """Words of `texts`, as many as fit into `tokens`, and full stops for the rest; raises `BenchError` if none fits."""
    words = " ".join(texts).split()
    beginnings = (" ".join(words[:count]) for count in range(1, len(words)))
    *_, longest = ("", *takewhile(lambda text: _count(local, text) <= tokens, beginnings))
    text = longest + FILLER * (tokens - _count(local, longest)) if longest else ""
    if not text or _count(local, text) != tokens:
        raise BenchError(f"no text of {tokens} tokens could be made", "use a workload of shorter words")
    return text


def _count(local: LocalLambda, text: str) -> int:
    return json.loads(local.invoke(cold.request(text)).body)["tokens"]
