"""Records survive killed writers, and damage is named instead of skipped."""

import json

import pytest

from tests.unit.conftest import sample, variant
from workbench.errors import RecordError
from workbench.records import Measurement, Variant, fingerprint
from workbench.store import append, drop_torn_tail, read, read_lines, tree_sha256, write

RECORD = sample("fp32", 2048, "cold", 0, {"cold_ms": 1.5}, "ok")


def test_a_record_comes_back_as_it_was(tmp_path) -> None:
    """What is appended or written reads back equal, nested records and mappings included."""
    append(tmp_path / "m.jsonl", RECORD)
    write(tmp_path / "v.json", variant("fp32"))
    assert read_lines(tmp_path / "m.jsonl", Measurement) == [RECORD]
    assert read(tmp_path / "v.json", Variant, "") == variant("fp32")


def test_a_torn_tail_costs_only_itself(tmp_path) -> None:
    """At whatever byte a writer is killed, earlier records are read, and the next append starts a clean line."""
    path = tmp_path / "m.jsonl"
    append(path, RECORD)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole + whole[:length])
        assert read_lines(path, Measurement) == [RECORD]
        drop_torn_tail(path)
        append(path, RECORD)
        assert read_lines(path, Measurement) == [RECORD, RECORD]


def test_damage_inside_a_file_is_named(tmp_path) -> None:
    """A complete but unreadable line is a `RecordError` with its file and line number."""
    path = tmp_path / "m.jsonl"
    append(path, RECORD)
    path.write_bytes(b"{]\n" + path.read_bytes())
    with pytest.raises(RecordError, match=r"m\.jsonl:1 is damaged"):
        read_lines(path, Measurement)


def test_a_record_of_another_shape_is_refused(tmp_path) -> None:
    """A record with an unknown or missing field is damage, not a default."""
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"recipe": {"name": "fp32"}, "extra": 1}))
    with pytest.raises(RecordError, match="extra is not a setting"):
        read(path, Variant, "")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    """When the disk refuses, the file that was there is intact."""
    path = tmp_path / "v.json"
    write(path, variant("old"))

    def refuse(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("workbench.store.os.fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        write(path, variant("new"))
    assert read(path, Variant, "").recipe.name == "old"


def test_fingerprints_depend_on_content_alone(tmp_path) -> None:
    """Key order does not change a fingerprint; a changed byte or file name changes a tree's."""
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    (tmp_path / "one").write_text("x")
    before = tree_sha256([tmp_path / "one"], tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    assert tree_sha256([tmp_path / "two"], tmp_path) != before
