"""Seals, on a pipeline in memory: what is sealed when, and that whatever is changed afterwards is found and named."""

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from sealed import HOUR, START, MemoryArchive, MemoryRows, Pipeline

from fraudctl.atomic import create_file
from fraudctl.aws.resources.archive import BucketArchive
from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed, Refused
from fraudctl.pipeline import audit_table, topics
from fraudctl.services.seal import bundle, report, sealing
from fraudctl.services.seal.archive import Archive, FolderArchive
from fraudctl.services.seal.canonical import FIELDS
from fraudctl.services.seal.chains import State, load
from fraudctl.services.seal.check import Check, Fault, Result
from fraudctl.services.seal.manifest import Manifest
from fraudctl.services.seal.rows import TableRows
from fraudctl.services.seal.sealing import Sealing

MINUTE = 60_000
LATER = START + 3 * HOUR + 10 * MINUTE


def at(milliseconds: int) -> Clock:
    """Give a clock that stands still."""
    return Clock(now=lambda: milliseconds / 1000)


def seal(pipeline: Pipeline, archive: Archive, now: int = LATER, **options: Any) -> sealing.Result:
    """Seal by the hour."""
    run = Sealing(pipeline.target, archive, options.pop("length", HOUR), clock=at(now), **options)
    list(run.run())
    return run.result


def check(archive: Archive, rows: Any, *span: int | None, **options: Any) -> Result:
    """Compare."""
    run = Check(archive, rows, *span, **options)
    list(run.run())
    return run.result


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    """DynamoDB in memory, once: it takes a second to start."""
    with mock_aws():
        yield boto3.resource("dynamodb", "us-east-1")


@pytest.fixture
def table(dynamodb: Any) -> Iterator[Any]:
    """An empty audit table."""
    found = dynamodb.create_table(**audit_table.definition("fraud-detection-audit"))
    yield found
    found.delete()


@pytest.fixture
def pipeline(table: Any) -> Pipeline:
    """Detections in the first and the third hour, in both partitions."""
    found = Pipeline(table)
    for number in range(6):
        found.send(number * MINUTE, f"t-{number}", number % 2)
    found.send(2 * HOUR, "late", 1)
    found.send(2 * HOUR + MINUTE, "of nobody", 0, 7002)
    return found


def test_windows_are_sealed_once_they_are_closed(pipeline: Pipeline) -> None:
    """Each hour and partition has a manifest, empty ones too; a second run writes nothing."""
    archive = MemoryArchive()
    result = seal(pipeline, archive)
    assert [(window.since - START, window.rows, window.manifests) for window in result.windows] == [
        (0, 6, 2),
        (HOUR, 0, 2),
        (2 * HOUR, 1, 2),
    ]
    assert (result.began, result.before, result.through) == (START, 0, START + 3 * HOUR)
    assert result.closes == START + 4 * HOUR + MINUTE  # hold is a minute
    assert [name for name in archive.names() if name.endswith(".json")] == [
        f"0000{partition}/20261127T{hour}0000Z.json" for partition in (0, 1) for hour in (9 + 1, 9 + 2, 9 + 3)
    ]
    first = Manifest.parse(archive.files["00001/20261127T100000Z.json"], "00001/20261127T100000Z.json")
    assert (first.sequence, first.previous, first.before, first.partitions) == (0, None, 0, (0, 1))
    assert (first.first, first.last, first.rows, first.amount) == (0, 2, 3, sum_of(pipeline, 1))
    assert first.verify == {**dict.fromkeys(first.verify, 0), "ok": 3}
    second = Manifest.parse(archive.files["00001/20261127T110000Z.json"], "00001/20261127T110000Z.json")
    assert (second.sequence, second.previous, second.rows, second.first) == (1, first.digest, 0, None)
    before = dict(archive.files)
    again = seal(pipeline, archive)
    assert (again.windows, again.through, archive.files) == ([], START + 3 * HOUR, before)
    assert check(archive, TableRows(pipeline.table)).faults is False


def sum_of(pipeline: Pipeline, partition: int) -> Decimal:
    """Sum the first hour's amounts."""
    rows = [item for item in pipeline.items if item["processed_partition"] == partition]
    return sum((item["amount"] for item in rows if item["transaction_id"] != "late"), Decimal(0))


def test_a_manifest_can_be_verified_by_hand(pipeline: Pipeline) -> None:
    """As docs/seal.md says: plain JSON and SHA-256."""
    archive = MemoryArchive()
    seal(pipeline, archive)
    document = json.loads(archive.files["00000/20261127T100000Z.json"])
    stated = document.pop("digest")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == stated
    assert json.loads(archive.files["00000/20261127T110000Z.json"])["previous"] == stated
    listed = archive.files[document["row_list"]]
    assert hashlib.sha256(listed).hexdigest() == document["row_list_sha256"]
    rows = []
    for item in pipeline.items[0:6:2]:
        row = {name: item.get(name) for name in document["fields"]}
        rows.append(json.dumps({**row, "amount": f"{row['amount']:.2f}"}, separators=(",", ":")) + "\n")
    assert hashlib.sha256("".join(rows).encode()).hexdigest() == document["rows_sha256"]
    (offset, short, account, _, transaction), *_ = map(json.loads, gzip.decompress(listed).splitlines())
    assert (offset, account, transaction) == (0, 7001, "t-0")
    assert hashlib.sha256(rows[0].encode()).hexdigest().startswith(short)


def test_a_window_is_open_as_long_as_something_can_come(pipeline: Pipeline) -> None:
    """Until hold behind its end, until the application has read up to there, and AuditWriter all of it."""
    archive = MemoryArchive()
    assert seal(pipeline, archive, START + HOUR + 59_999).windows == []
    positions = pipeline.target.topics.positions
    right = json.loads(json.dumps(positions), object_hook=lambda found: found)
    positions[topics.PROCESSED.name]["audit-writer"] = {0: 1, 1: 3}
    result = seal(pipeline, archive)
    assert (result.windows, result.open_because) == ([], "AuditWriter has not read all of it")
    pipeline.caught_up()
    positions = pipeline.target.topics.positions
    positions[topics.TRANSACTIONS.name] = {"fraud-detection": {0: 2, 1: 9}}
    result = seal(pipeline, archive)
    assert result.windows == []
    assert "the Flink application has read everything up to 2026-11-27T10:04:00.000Z only" in result.open_because
    positions[topics.TRANSACTIONS.name] = {}
    assert seal(pipeline, archive).open_because == "the Flink application has not completed a checkpoint"
    assert archive.files == {}
    assert right
    pipeline.caught_up()
    assert len(seal(pipeline, archive).windows) == 3


def test_a_window_with_faults_is_not_sealed_unless_that_is_asked_for(pipeline: Pipeline) -> None:
    """A row that was deleted before; the option is in the manifest."""
    archive = MemoryArchive()
    pipeline.table.delete_item(Key={name: pipeline.items[6][name] for name in ("account_id", "transaction_key")})
    result = seal(pipeline, archive)
    assert [window.since for window in result.windows] == [START, START + HOUR]
    with pytest.raises(NotAsAsked, match=r"the window from 2026-11-27T12:00:00.000Z on is not sealed: 1 lost"):
        report.check_sealed(result)
    result = seal(pipeline, archive, with_faults=True)
    report.check_sealed(result)
    last = [load(archive).manifests[index] for index in (2, 5)]
    assert [(one.with_faults, one.verify["lost"], one.rows) for one in last] == [(False, 0, 0), (True, 1, 0)]
    assert check(archive, TableRows(pipeline.table)).verify["lost"] == 1


@pytest.mark.parametrize(
    "change", [{"amount": 99}, {"customer_name": "Eve"}, {"processed_offset": 1}, {"transaction_offset": 1000}]
)
def test_a_row_that_is_not_its_record_is_a_fault(pipeline: Pipeline, change: dict[str, Any]) -> None:
    """Whatever of it, also what would keep a reconciliation waiting for ever."""
    pipeline.table.put_item(Item={**pipeline.items[0], **change})
    assert seal(pipeline, MemoryArchive()).faults == {"different": 1}


def test_a_forged_time_of_detection_is_a_fault(pipeline: Pipeline) -> None:
    """The record's own time is in Kafka."""
    pipeline.table.put_item(Item={**pipeline.items[0], "detected_at": "2026-11-27T10:00:09.000Z"})
    assert seal(pipeline, MemoryArchive()).faults == {"different": 1}


def test_what_kafka_has_forgotten_is_sealed_as_unknown(pipeline: Pipeline) -> None:
    """And the manifest says what was gone."""
    pipeline.forget(topics.TRANSACTIONS.name, topics.PROCESSED.name)
    archive = MemoryArchive()
    result = seal(pipeline, archive)
    assert [window.verify["unknown"] for window in result.windows] == [6, 0, 1]
    assert "Of 7 rows Kafka has no evidence any more; they are sealed as they are." in report.sealed_notes(result, "x")
    report.check_sealed(result)
    assert check(archive, TableRows(pipeline.table)).verify == Counter(unknown=7)


def test_rows_from_before_the_first_window_are_counted(pipeline: Pipeline) -> None:
    """When sealing begins later; if there are more of them afterwards, that is a fault."""
    archive = MemoryArchive()
    result = seal(pipeline, archive, since=START + 2 * HOUR + MINUTE)
    assert (result.began, result.before, len(result.windows)) == (START + 2 * HOUR, 6, 1)
    assert "6 rows lie before that" in report.sealed_notes(result, "x")[0]
    rows = MemoryRows(pipeline.items)
    found = check(archive, rows)
    assert (found.faults, found.unsure) == (
        False,
        ["6 rows from before 2026-11-27T12:00:00.000Z, where the seals begin"],
    )
    with pytest.raises(NotAsAsked, match="not everything that was asked for is sealed"):
        report.check(found, allow_unknown=False)
    report.check(found, allow_unknown=True)
    report.check(check(archive, rows, START + 2 * HOUR), allow_unknown=False)
    rows.items.append(
        {**rows.items[0], "transaction_key": "2020-01-01#x", "detected_key": "2020-01-01T00:00:00.000Z#x"}
    )
    assert check(archive, rows).faults


def test_what_lies_outside_the_seals_is_said(pipeline: Pipeline) -> None:
    """Asked for and found; unknown is not 0."""
    archive = MemoryArchive()
    seal(pipeline, archive)
    rows = MemoryRows(pipeline.items)
    for span, unsure in [
        (
            (START - HOUR, None),
            ["what was detected since 2026-11-27T09:00:00.000Z and before 2026-11-27T10:00:00.000Z"],
        ),
        ((None, START + 4 * HOUR), ["what was detected from 2026-11-27T13:00:00.000Z on is not sealed yet"]),
        ((START + 9 * HOUR, None), ["nothing since 2026-11-27T19:00:00.000Z is sealed; the manifests there are from"]),
        ((START + 10, START + 20), []),
    ]:
        found = check(archive, rows, *span)
        assert [text.startswith(start) for text, start in zip(found.unsure, unsure, strict=True)] == [True] * len(
            unsure
        )
        assert not found.faults
    assert found.found == (START, START + HOUR)
    assert (found.windows, found.rows) == (2, 6)
    with pytest.raises(NotDeployed, match="there are no manifests"):
        check(MemoryArchive(), rows)
    with pytest.raises(BadConfig, match="these manifests are of stack fraud-detection, not other"):
        check(archive, rows, stack="other")


def test_an_interrupted_run_goes_on(pipeline: Pipeline) -> None:
    """Behind the manifest that was the last; windows stay the same for all partitions, whatever --every says then."""
    whole = MemoryArchive()
    seal(pipeline, whole)

    class Full(MemoryArchive):
        """An archive that fails at its third manifest."""

        def put(self, name: str, data: bytes) -> bool:
            """Fail."""
            if name.endswith(".json") and sum(known.endswith(".json") for known in self.files) == 3:
                raise OSError("no space")
            return super().put(name, data)

    part = Full()
    with pytest.raises(OSError, match="no space"):
        seal(pipeline, part)
    assert [one.name for one in load(part).bad] == ["00001/20261127T110000Z.json"]
    rest = MemoryArchive(part.files)
    seal(pipeline, rest, length=30 * MINUTE)
    assert load(rest).bad == []
    assert not check(rest, MemoryRows(pipeline.items)).faults
    spans = [(one.since - START, one.until - START) for one in load(rest).manifests if one.partition == 1]
    assert spans[:3] == [(0, HOUR), (HOUR, 2 * HOUR), (2 * HOUR, 2 * HOUR + 30 * MINUTE)]


def test_two_runs_at_once_make_one_chain(pipeline: Pipeline) -> None:
    """Whoever is second takes what is there; with other windows it stops."""
    archive = MemoryArchive()

    class Slow(MemoryArchive):
        """An archive in which another run is faster."""

        def names(self) -> list[str]:
            """Look, then let the other one seal."""
            found = super().names()
            seal(pipeline, archive, length=length)
            return found

    for length in (HOUR, 30 * MINUTE):
        archive.files.clear()
        if length == HOUR:
            seal(pipeline, Slow(archive.files))
            assert not check(archive, MemoryRows(pipeline.items)).faults
        else:
            with pytest.raises(Refused, match="somebody else seals at this moment, with another --every"):
                seal(pipeline, Slow(archive.files))
    assert load(archive).bad == []


def test_a_place_belongs_to_one_stack_and_to_what_was_sealed(pipeline: Pipeline) -> None:
    """Another stack's seals, altered and missing ones are refused."""
    archive = MemoryArchive()
    seal(pipeline, archive)
    first, last = "00000/20261127T100000Z.json", "00000/20261127T120000Z.json"
    outputs = pipeline.target.stack.outputs()
    pipeline.target.stack.outputs = lambda: replace(outputs, stack="other")
    with pytest.raises(BadConfig, match="it has the seals of stack fraud-detection"):
        seal(pipeline, archive)
    pipeline.target.stack.outputs = lambda: outputs
    content = archive.files[last]
    archive.files[last] = content.replace(b'"rows": 0', b'"rows": 7')
    with pytest.raises(Refused, match="its content does not match its digest"):
        seal(pipeline, archive)
    del archive.files[last], archive.files["00000/20261127T110000Z.json"]
    with pytest.raises(Refused, match=r"manifests are missing from 2026-11-27T11:00:00.000Z on"):
        seal(pipeline, archive)
    assert first in archive.files


def test_windows_divide_a_day(pipeline: Pipeline) -> None:
    """Or they would not begin at whole hours."""
    assert (sealing.every("1h"), sealing.every("10m"), sealing.every("1d")) == (HOUR, 10 * MINUTE, 24 * HOUR)
    for text in ("7m", "25h", "500ms", "soon", "0s"):
        with pytest.raises(BadConfig, match="--every"):
            sealing.every(text)
    with pytest.raises(BadConfig, match="more than 100,000 windows"):
        seal(pipeline, MemoryArchive(), since=0)


def test_nothing_to_seal_is_said(table: Any) -> None:
    """An empty table."""
    result = seal(Pipeline(table), MemoryArchive())
    assert report.sealed_notes(result, "x") == ["No detections yet: there is nothing to seal."]


@pytest.fixture(scope="module")
def sealed(dynamodb: Any) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """An archive of three hours, and its rows, whose ids are not ASCII."""
    found = Pipeline(dynamodb.create_table(**audit_table.definition("sealed")))
    for number in range(10):
        found.send(number * 17 * MINUTE, f"t-{number} é\u2028", number % 2)
    archive = MemoryArchive()
    seal(found, archive)
    return archive.files, found.items


ROW_FIELDS = [name for name in FIELDS if name not in {"account_id", "transaction_id", "transaction_date"}]


def spoil(item: dict[str, Any], name: str) -> dict[str, Any]:
    """Give an item in which one field has another value."""
    before = item.get(name)
    match before:
        case int() | Decimal():
            after: Any = before + 1
        case None:
            after = "{}"
        case _ if name.endswith(("_at", "_date")):
            after = before.replace("2026", "2025")
        case _:
            after = before + "x"
    return {**item, name: after}


@given(data=st.data())
@settings(max_examples=150)
def test_whatever_is_done_to_rows_is_found_and_nothing_else(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Any field of any rows changed, rows deleted, rows added, at once: each is named, and no other row is."""
    files, items = sealed
    rows = MemoryRows(items)
    names = sorted(item["transaction_id"] for item in items)
    fates = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(["changed", "deleted"]), max_size=5))
    expected = set()
    for name, fate in fates.items():
        index = next(index for index, item in enumerate(rows.items) if item["transaction_id"] == name)
        if fate == "deleted":
            del rows.items[index]
        else:
            rows.items[index] = spoil(rows.items[index], data.draw(st.sampled_from(ROW_FIELDS)))
        expected.add((fate, name))
    for number in range(data.draw(st.integers(0, 2))):
        like = data.draw(st.sampled_from(items))
        offset = data.draw(st.sampled_from([like["processed_offset"], 1_000 + number]))
        key = f"{like['transaction_date']}#new-{number}"
        rows.items.append(
            {**like, "transaction_id": f"new-{number}", "transaction_key": key, "processed_offset": offset}
        )
        expected.add(("added", f"new-{number}"))
    result = check(MemoryArchive(files), rows)
    assert {(case.fault.value, case.identity[2]) for case in result.cases} == expected
    assert len(result.cases) == len(expected)
    assert (result.faults, result.chains.bad, result.chains.strays) == (bool(expected), [], [])
    windows = {case.since for case in result.cases}
    named = {one.name for one in result.differing}
    assert {name.split("/")[1] for name in named} >= {f"{_hour(since)}.json" for since in windows}


def _hour(since: int | None) -> str:
    assert since is not None
    return f"20261127T{10 + (since - START) // HOUR:02d}0000Z"


@given(data=st.data())
@settings(max_examples=150)
def test_whatever_is_done_to_a_file_is_found_and_named(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Any field of a manifest changed, a byte of any file, a file deleted, renamed or replaced by a whole one."""
    files, items = dict(sealed[0]), sealed[1]
    name = data.draw(st.sampled_from(sorted(files)))
    before = files[name]
    manifest = name.endswith(".json")
    what = data.draw(st.sampled_from(["byte", "deleted", "renamed", *(["field", "forged"] if manifest else [])]))
    if what == "byte":
        place, other = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(1, 255))
        files[name] = before[:place] + bytes([before[place] ^ other]) + before[place + 1 :]
    elif what in {"field", "forged"}:
        document = json.loads(before)
        field = data.draw(st.sampled_from(sorted(document.keys() - {"digest", "format"})))
        document[field] = [document[field]] if what == "field" else document[field]
        if what == "forged":
            document["sealed_at"] = "2026-01-01T00:00:00.000Z"
            del document["digest"]
            text = json.dumps(document, sort_keys=True, separators=(",", ":"))
            document["digest"] = hashlib.sha256(text.encode()).hexdigest()
        files[name] = json.dumps(document, indent=2).encode() + b"\n"
    else:
        del files[name]
        if what == "renamed":
            files[name.replace("20261127T1", "20261128T1")] = before
    result = check(MemoryArchive(files), MemoryRows(items))
    if what == "forged" and name.endswith("T120000Z.json"):
        # A whole manifest that no other follows: nothing in the archive tells it from the one that was sealed.
        assert not result.faults
        return
    assert result.faults
    assert result.cases == []
    told = json.dumps([report.document(result, 10), report.notes(result, 10, None)], default=str)
    window = name[: len("00000/20261127T100000Z")]
    assert window in told or window.replace("20261127T1", "20261128T1") in told
    bad = {one.name[: len(window)] for one in result.chains.bad}
    assert bad <= {window, window.replace("20261127T1", "20261128T1")}


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "6"},
        {"rows": True},
        {"partition": -1},
        {"row_list": 7},
        {"fields": [1]},
        {"verify": {"ok": "x"}},
        {"verify": []},
        {"amount": "NaN"},
        {"until": "2026-11-27T10:00:00.000Z"},
        {"since": "soon"},
        {"with_faults": 1},
        {"format": "fraudctl-seal/2"},
        {"more": 1},
    ],
)
def test_a_whole_manifest_of_other_types_is_altered(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]], change: dict[str, Any]
) -> None:
    """Somebody made it by hand, digest and all; nothing of it is worked with."""
    files, name = dict(sealed[0]), "00000/20261127T100000Z.json"
    document = {**json.loads(files[name]), **change}
    del document["digest"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["digest"] = hashlib.sha256(text.encode()).hexdigest()
    files[name] = json.dumps(document, indent=2).encode() + b"\n"
    result = check(MemoryArchive(files), MemoryRows(sealed[1]))
    assert [(one.name, one.state) for one in result.chains.bad] == [(name, State.ALTERED)]
    assert result.cases == []


def test_missing_manifests_are_counted(sealed: tuple[dict[str, bytes], list[dict[str, Any]]]) -> None:
    """Of one partition, of all partitions, from the beginning, and a whole partition."""
    files, items = sealed
    rows = MemoryRows(items)

    def without(*gone: str) -> Result:
        return check(
            MemoryArchive({name: data for name, data in files.items() if not any(part in name for part in gone)}), rows
        )

    result = without("T11")
    assert (result.chains.valid, result.chains.number) == (4, 6)
    assert [one.why for one in result.chains.bad] == [
        "a manifest is missing between 2026-11-27T11:00:00.000Z and 2026-11-27T12:00:00.000Z"
    ] * 2
    result = without("T10")
    assert [one.why for one in result.chains.bad] == ["a manifest is missing before 2026-11-27T11:00:00.000Z"] * 2
    result = without("00001/")
    assert (result.chains.valid, result.chains.number) == (3, 6)
    assert {one.why for one in result.chains.bad} == {
        f"00000/20261127T{hour}0000Z.json names it" for hour in (10, 11, 12)
    }
    assert {(one.state, one.partition) for one in result.chains.bad} == {(State.MISSING, 1)}
    result = without("00001/20261127T120000Z.json")
    assert [one.name for one in result.chains.bad] == ["00001/20261127T120000Z.json"]
    # A part that is asked for needs no more than its neighbours.
    result = check(MemoryArchive(files), rows, START + HOUR, START + 2 * HOUR)
    assert (result.faults, result.chains.number, result.windows) == (False, 6, 2)


def test_without_its_row_list_a_window_says_what_it_can(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]],
) -> None:
    """How many rows and what sum."""
    files, items = dict(sealed[0]), sealed[1]
    listed = next(name for name in files if name.startswith("00000/20261127T10") and name.endswith(".gz"))
    del files[listed]

    rows = MemoryRows([item for item in items if item["transaction_id"] != items[0]["transaction_id"]])
    (one,) = check(MemoryArchive(files), rows).differing
    assert (one.name, one.sealed, one.found) == ("00000/20261127T100000Z.json", 2, 1)
    assert one.sealed_amount - one.found_amount == items[0]["amount"]
    assert "there is no such file" in one.why


def test_a_row_that_moved_is_changed_not_deleted_and_added(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]],
) -> None:
    """To another window, or out of the index."""
    files, items = sealed
    for key in ("2026-11-27T11:30:00.000Z#x", "1999-11-27T11:30:00.000Z#x"):
        rows = MemoryRows([{**items[0], "detected_at": key[:24], "detected_key": key}, *items[1:]])
        (case,) = check(MemoryArchive(files), rows, START).cases
        assert (case.fault, case.identity[2], case.offset) == (Fault.CHANGED, items[0]["transaction_id"], 0)


@pytest.fixture
def packed(sealed: tuple[dict[str, bytes], list[dict[str, Any]]], tmp_path: Path) -> Path:
    """A file of evidence of the second and third hour."""
    files, items = sealed
    path = tmp_path / "case.zip"

    def evidence(identities: Any) -> Iterator[dict[str, Any]]:
        return ({"transaction_id": identity[2], "verdict": "ok"} for identity in identities)

    list(bundle.export(path, MemoryArchive(files), MemoryRows(items), evidence, START + HOUR))
    return path


def offline(path: Path) -> Result:
    """Check a file of evidence."""
    found = bundle.Bundle(path)
    run = Check(found, found, part=True)
    run.result.altered = found.altered
    list(run.run())
    return run.result


def test_evidence_verifies_offline_and_is_the_same_each_time(
    sealed: tuple[dict[str, bytes], list[dict[str, Any]]], packed: Path, tmp_path: Path
) -> None:
    """With fraudctl, and by sha256sum; what was exported twice is the same file."""
    result = offline(packed)
    assert not result.faults
    assert (result.chains.valid, result.windows, result.same, result.rows) == (4, 4, 4, 6)
    report.check(result, allow_unknown=False)
    first = packed.read_bytes()
    packed.rename(tmp_path / "first.zip")
    list(
        bundle.export(
            packed,
            MemoryArchive(sealed[0]),
            MemoryRows(sealed[1]),
            lambda ids: ({"transaction_id": one[2], "verdict": "ok"} for one in ids),
            START + HOUR,
        )
    )
    assert packed.read_bytes() == first
    with zipfile.ZipFile(packed) as opened:
        opened.extractall(tmp_path / "out")
        assert len(opened.read(bundle.CHAINS).splitlines()) == 6
    assert (
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=False).returncode == 0
    )
    manifest = json.loads((tmp_path / "out/manifests/00000/20261127T110000Z.json").read_bytes())
    rows = (tmp_path / "out/rows/00000/20261127T110000Z.jsonl").read_bytes()
    assert hashlib.sha256(rows).hexdigest() == manifest["rows_sha256"]
    code = (tmp_path / "out" / bundle.README).read_text().split("names and without blanks:\n")[1].split('"previous"')[0]
    script = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", script, "manifests/00000/20261127T110000Z.json"],
        cwd=tmp_path / "out",
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("cover", [False, True])
def test_altered_evidence_is_named(packed: Path, tmp_path: Path, *, cover: bool) -> None:
    """Rows and manifests, also when the sums were made to fit."""
    for part, told in [
        ("rows/00001/20261127T110000Z.jsonl", "changed"),
        ("manifests/00001/20261127T110000Z.json", "altered"),
    ]:
        other = tmp_path / f"other-{cover}.zip"
        with zipfile.ZipFile(packed) as opened, zipfile.ZipFile(other, "w") as written:
            contents = {name: opened.read(name) for name in opened.namelist()}
            contents[part] = (
                contents[part].replace(b"Ada", b"Eve").replace(b"stolen", b"lost").replace(b'"rows": ', b'"rows": 1')
            )
            if cover:
                sums = "".join(
                    f"{hashlib.sha256(data).hexdigest()}  {name}\n"
                    for name, data in contents.items()
                    if name != bundle.SUMS
                )
                contents[bundle.SUMS] = sums.encode()
            for name, data in contents.items():
                written.writestr(name, data)
        result = offline(other)
        assert result.faults
        assert result.altered == ([] if cover else [part])
        assert told in json.dumps(
            report.document(result, 10)["cases" if told == "changed" else "manifests_bad"], default=str
        )


def test_what_is_no_evidence_is_refused(tmp_path: Path) -> None:
    """Another file, and none."""
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(BadConfig, match="not a file of evidence"):
        bundle.Bundle(tmp_path / "x.zip")
    with pytest.raises(NotDeployed, match="there is no such file"):
        bundle.Bundle(tmp_path / "y.zip")


def test_of_many_writers_one_succeeds(tmp_path: Path) -> None:
    """And the file is whole."""
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: create_file(tmp_path / "x", b"%d" % number * 100_000), range(8)))
    assert sum(done) == 1
    assert (tmp_path / "x").read_bytes() == b"%d" % done.index(True) * 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.fixture(params=["folder", "bucket"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """An empty archive of each kind."""
    if request.param == "folder":
        yield FolderArchive(tmp_path / "seals")
        return
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="seals")
        boto3.client("s3").put_object(Bucket="seals", Key="other", Body=b"")
        yield BucketArchive(AwsSession("us-east-1", None), "s3://seals/a/b/")


def test_archives_never_replace(archive: Archive, tmp_path: Path) -> None:
    """A name is taken once."""
    assert archive.names() == []
    assert archive.put("00001/x.json", b"one")
    assert archive.put("00000/y.json", b"two")
    assert not archive.put("00001/x.json", b"three")
    assert archive.names() == ["00000/y.json", "00001/x.json"]
    assert archive.read("00001/x.json") == b"one"
    assert archive.place in {str(tmp_path / "seals"), "s3://seals/a/b"}
    with pytest.raises(NotDeployed, match=r"00001/z.json: there is no such"):
        archive.read("00001/z.json")


def test_a_bucket_has_to_be_there() -> None:
    """Fraudctl creates none."""
    with mock_aws(), pytest.raises(NotDeployed, match="bucket nowhere: does not exist"):
        BucketArchive(AwsSession("us-east-1", None), "s3://nowhere").names()
    with pytest.raises(BadConfig, match="names no bucket"):
        BucketArchive(AwsSession("us-east-1", None), "s3:///x")
