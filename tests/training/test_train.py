"""The training stages follow each other, resume after a kill, and refuse bad data before they start."""

import json
import lzma
import random
import subprocess
import sys
from functools import partial

import pytest
import torch

from optimize.train import emotions, finetune, loop, model, pretrain
from workbench.errors import DataError, SourceError
from workbench.paths import ROOT
from workbench.texts import Text

TEXTS = {
    "kote": [Text("오늘 정말 행복하다", (40,), "1"), Text("너무 화가 난다", (6,), "2")],
    "rating": [Text("하루 종일 지친다", (0,)), Text("내일이 걱정된다", (9,))],
    "none": [Text("그냥")],
    "goemotions": [Text("정말 행복", (17,))],
}
OWN = [Text("오늘 행복하다", (0,)), Text("화가 난다", (3, 6)), Text("점심을 먹었다", (7,))]


def test_batches_hold_every_text_once_and_stay_within_their_tokens(tokenizer):
    """Each text is in one batch, and a padded batch is no larger than asked."""
    store = pretrain.store_of(TEXTS, tokenizer)
    batches = loop.batches_of(store, 40, 0)
    assert sorted(n for batch in batches for n in batch) == list(range(len(store.starts) - 1))
    assert all(loop.padded(store, batch)["input_ids"].numel() <= 40 for batch in batches)


def test_only_words_are_hidden(tokenizer):
    """Special tokens and padding are never hidden, and unhidden words stay."""
    ids = torch.tensor([[2, 9, 10, 11, 3, 0]] * 200)
    shown, hidden = pretrain.hide(ids, 400)
    assert not hidden[:, [0, 4, 5]].any()
    assert hidden.any()
    assert (shown[~hidden] == ids[~hidden]).all()


def test_joined_entries_keep_the_main_emotion_of_their_lines():
    """A longer entry has its first line's main emotion first."""
    for before, after in zip(OWN, emotions.joined(OWN, random.Random(0)), strict=True):
        assert before.labels[0] == after.labels[0]
        assert before.text in after.text


def trained(tokenizer, folder):
    """Run both stages with tiny settings and return their last folders."""
    last = pretrain.run(
        TEXTS, tokenizer, folder, depths=(model.Depth(1, 2, 1e-3), model.Depth(2, 1, 1e-3)), tokens=20, bf16=False
    )
    learnt = emotions.run(
        last, TEXTS | {"emotion": OWN}, tokenizer, folder, depths=(model.Depth(2, 1, 1e-3),), tokens=40, bf16=False
    )
    return last, learnt


def test_the_stages_follow_each_other_and_finished_ones_are_kept(tokenizer, tmp_path):
    """Pretraining goes through its depths, the emotions follow, the curve is written, and a second run trains nothing."""
    before = [path.stat().st_mtime_ns for path in trained(tokenizer, tmp_path)]
    curve = (tmp_path / "curves.jsonl").read_text().splitlines()
    assert {json.loads(line)["stage"] for line in curve} == {"pretrain-1", "pretrain-2", "emotions-2"}
    assert before == [path.stat().st_mtime_ns for path in trained(tokenizer, tmp_path)]


def test_a_killed_stage_goes_on_from_its_last_checkpoint(tokenizer, tmp_path):
    """After a stop at step 5 the second run repeats only what no checkpoint holds, and finishes."""
    store, steps = pretrain.store_of(TEXTS, tokenizer), []

    def fit(stop):
        net = model.at_depth(None, len(tokenizer), 1, 0.0)

        def cost(*args, **named):
            steps.append(len(steps))
            if len(steps) == stop:
                raise KeyboardInterrupt
            return pretrain.loss(net, *args, **named)

        loop.fit(
            net,
            [[0, 1], [2, 3]],
            partial(pretrain.collate, store, len(tokenizer)),
            cost,
            tmp_path / "stage",
            epochs=4,
            rate=1e-3,
            seed=0,
            bf16=False,
            save_steps=2,
        )

    with pytest.raises(KeyboardInterrupt):
        fit(stop=6)
    assert not loop.finished(tmp_path / "stage")
    fit(stop=0)
    assert loop.finished(tmp_path / "stage")
    assert len(steps) == 6 + 4


def test_bad_data_ends_the_command_before_any_training(tmp_path) -> None:
    """A wrong own line is named, the exit status is the data error's, and nothing has been trained."""
    for name, line in {
        "kote/val.tsv": "1\t좋다\t3",
        "nsmc/nsmc.tsv.xz": "",
        "chatbot/ChatbotData.csv": "Q,A,label\n가,나,0",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lzma.compress("9\t좋다\n".encode()) if name.endswith("xz") else line.encode())
    (tmp_path / "own.tsv").write_text("joy\t좋다\nhappy\t좋다\n")
    words = ["--data", str(tmp_path), "--own", str(tmp_path / "own.tsv"), "--out", str(tmp_path / "out")]
    done = command("scratch", *words)
    assert done.returncode == DataError.exit_code
    assert "own.tsv, line 2: emotion 'happy'" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_any_encoder_can_be_fine_tuned_on_kote_data(small, tokenizer, tmp_path):
    """A folder with weights and tokenizer becomes a model of the eight emotions, scored on the held-out rows."""
    del small.guess, small.aside
    small.resize_token_embeddings(len(tokenizer))
    small.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    rows = "".join(f"{n}\t오늘 정말 행복하다\t40\n{n}a\t너무 화가 난다 {n}\t6\n" for n in range(300))
    (tmp_path / "kote.tsv").write_text(rows)
    scores = finetune.run(str(tmp_path / "source"), tmp_path / "kote.tsv", tmp_path / "tuned", epochs=1)
    assert 0 <= scores["macro_f1_all"] <= 1
    assert (tmp_path / "tuned/model.safetensors").is_file()


def test_a_hub_model_without_a_pinned_commit_is_refused(tmp_path) -> None:
    """A name that is no folder needs its commit, and nothing is asked of any hub."""
    (tmp_path / "kote.tsv").write_text("1\t좋다\t40\n" * 2)
    done = command(
        "finetune", "--model", "some/model", "--data", str(tmp_path / "kote.tsv"), "--out", str(tmp_path / "o")
    )
    assert done.returncode == SourceError.exit_code
    assert "--revision" in done.stderr


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "optimize.train", *words], cwd=ROOT, capture_output=True, text=True)
