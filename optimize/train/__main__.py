"""`python -m optimize.train scratch|finetune`: train the small built-in model, or fine-tune any other source."""

import argparse
import json
from pathlib import Path

from optimize.train import data, emotions, finetune, pretrain, score, vocabulary
from workbench import paths
from workbench.errors import run_command

OUT = paths.BUILD / "train"


def main() -> None:
    settings = arguments()
    settings.out.mkdir(parents=True, exist_ok=True)
    print(json.dumps(settings.command(settings), indent=1))
    print(f"trained: {settings.out}")


def arguments() -> argparse.Namespace:
    """The command line's settings; `command` is the function that takes them."""
    parser = argparse.ArgumentParser(prog="python -m optimize.train", description=__doc__)
    commands = parser.add_subparsers(required=True)
    scratch = commands.add_parser("scratch", help="vocabulary, pretrain, emotions, pack")
    scratch.add_argument("--data", type=Path, required=True, help="folder with kote/, nsmc/, goemotions_ko/, chatbot/")
    scratch.add_argument("--own", type=Path, default=data.DIARY_LINES, help="diary lines: emotions<TAB>text")
    scratch.add_argument("--fp32", action="store_true", help="for machines where bf16 is no faster")
    scratch.set_defaults(command=from_scratch)
    tuner = commands.add_parser("finetune", help=finetune.__doc__)
    tuner.add_argument("--model", required=True, help="folder or hub id of the source, safetensors only")
    tuner.add_argument("--revision", help="40-hex commit of a hub model")
    tuner.add_argument("--data", type=Path, required=True, help="file of id<TAB>text<TAB>ids, as KOTE's")
    tuner.add_argument("--epochs", type=float, default=5)
    tuner.add_argument("--rate", type=float, default=5e-5, help="peak learning rate")
    tuner.add_argument("--bf16", action="store_true")
    tuner.set_defaults(command=tune)
    for command in (scratch, tuner):
        command.add_argument("--out", type=Path, default=OUT, help="folder for stages, curves and the model")
        command.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def from_scratch(settings: argparse.Namespace) -> dict:
    """Run the four stages and return the scores; each stage keeps what an earlier, interrupted run has finished."""
    texts, choice, held_out = data.everything(settings.data, settings.own)
    out, how = settings.out, {"seed": settings.seed, "bf16": not settings.fp32}
    if not (out / "vocab.txt").is_file():
        vocabulary.write(vocabulary.train(data.vocabulary_text(texts)), out / "vocab.txt")
    tokenizer = vocabulary.tokenizer_of(out / "vocab.txt")
    pretrained = pretrain.run(texts, tokenizer, out, **how)
    learnt = emotions.run(pretrained, texts, tokenizer, out, **how)
    return score.finish(learnt, tokenizer, choice | held_out, out)


def tune(settings: argparse.Namespace) -> dict:
    """Fine-tune one source and return its scores."""
    return finetune.run(
        settings.model,
        settings.data,
        settings.out,
        revision=settings.revision,
        epochs=settings.epochs,
        rate=settings.rate,
        seed=settings.seed,
        bf16=settings.bf16,
    )


if __name__ == "__main__":
    run_command(main)
