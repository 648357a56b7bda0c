"""`accounts what-if`: known answers, and what the tests' oracle says of random histories."""

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import oracle
import pytest
from fakes import FakeTarget
from histories import history, iso, transaction_json
from hypothesis import given, settings
from hypothesis import strategies as st
from target_in_memory import EARLY, HOUR, NOON, SENT, flagged, target

from fraudctl.errors import BadConfig
from fraudctl.pipeline import records, topics
from fraudctl.services.accounts import flag_list, labels, what_if_report
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.found import ADDED, DETECTED, REMOVED, THEN
from fraudctl.services.accounts.what_if import BackTest, Flags, Question, Result
from fraudctl.services.flags import quick
from fraudctl.target import PartitionInfo, TopicInfo


def asked(where: FakeTarget, *wanted: Wanted, **question: Any) -> Result:
    """Ask, and give the result."""
    test = BackTest(where, Question(wanted={flag.account: flag for flag in wanted}, **question))
    list(test.run())
    return test.result


def test_known_answers() -> None:
    """Account 1 was flagged; the list has account 2 from the second hour on, and nothing of account 1."""
    where = target(SENT, [flagged(1, EARLY)])
    result = asked(where, Wanted(2, start=NOON + HOUR, reason="mule"))
    assert result.transactions == len(SENT)
    rows = {row["flags"]: row for row in what_if_report.summary(result)}
    assert rows["as they were"] == {
        "flags": "as they were",
        "transactions": 2,
        "accounts": 1,
        "amount": Decimal("1000000000.09"),
        "hour_p50": 1,
        "hour_max": 1,
    }
    # Of three hours with transactions, nothing is added in the first.
    assert rows["added"] == {
        "flags": "added",
        "transactions": 2,
        "accounts": 1,
        "amount": Decimal("13.05"),
        "hour_p50": 1,
        "hour_max": 1,
    }
    assert rows["removed"] == {
        "flags": "removed",
        "transactions": 0,
        "accounts": 0,
        "amount": Decimal("0.00"),
        "hour_p50": 0,
        "hour_max": 0,
    }
    assert rows["with the list"]["transactions"] == 4
    assert rows["with the list"]["amount"] == Decimal("1000000013.14")
    examples = what_if_report.changes(result, what_if_report.CHANGE_COLUMNS)
    assert [(row["change"], row["transaction_id"], str(row["amount"])) for row in examples] == [
        ("added", "f", "8.00"),
        ("added", "d", "5.05"),
    ]
    assert what_if_report.coverage(result) == [
        f"Coverage: 8 transactions, published from {iso(NOON)} through {iso(NOON + 3 * HOUR)}."
    ]


def test_pruned_nothing_but_the_list_counts() -> None:
    """What account 1 was detected for is removed, with the reason of its flag."""
    where = target(SENT, [flagged(1, EARLY), flagged(2, EARLY)])
    result = asked(where, Wanted(2, start=NOON + HOUR), only=True, examples=1)
    counts = {name: tally.transactions for name, tally in result.tallies.items()}
    assert counts == {DETECTED: 5, ADDED: 0, REMOVED: 3, THEN: 2}
    (example,) = what_if_report.changes(result, what_if_report.chosen("change,transaction_id,reason,published"))
    assert example == {
        "change": "removed",
        "transaction_id": "c",
        "reason": "stolen card",
        "published": iso(NOON + HOUR),
    }
    assert what_if_report.notes(result) == ["The largest amounts; 2 transactions more: see --limit."]


def test_an_end_removes_what_was_detected_after_it() -> None:
    """The account is cleared from its until on; up to its from it keeps its flags."""
    result = asked(target(SENT, [flagged(2, EARLY)]), Wanted(2, start=NOON + 2, until=NOON + HOUR))
    assert [result.tallies[side].transactions for side in (DETECTED, ADDED, REMOVED, THEN)] == [3, 0, 2, 1]


def test_flags_count_as_they_were_at_each_transaction() -> None:
    """A flag that came more than hold late detected nothing; in a list it had come in time."""
    late = flagged(1, EARLY, published=NOON + 60_001)
    result = asked(target(SENT, [late]), Wanted(1))
    assert [result.tallies[side].transactions for side in (DETECTED, ADDED, REMOVED)] == [1, 1, 0]
    in_time = flagged(1, EARLY, published=NOON + 60_000)
    assert asked(target(SENT, [in_time]), Wanted(1)).tallies[ADDED].transactions == 0


def test_a_window() -> None:
    """By when transactions were published; the hours are those of the window."""
    result = asked(target(SENT, [flagged(1, EARLY)]), Wanted(2), since=NOON + HOUR, until=NOON + 3 * HOUR)
    assert (result.transactions, result.tallies[DETECTED].transactions, result.tallies[ADDED].transactions) == (2, 1, 1)
    assert what_if_report.coverage(asked(target(SENT), Wanted(2), since=NOON + 9 * HOUR)) == [
        "Coverage: no transactions were published in this time."
    ]


def test_what_kafka_has_deleted_is_said_first() -> None:
    """As `audit verify` says it."""
    where = target(SENT)
    where.records.topics[topics.TRANSACTIONS.name] = [  # type: ignore[attr-defined]
        record._replace(offset=record.offset + 40)
        for record in where.records.topics[topics.TRANSACTIONS.name]  # type: ignore[attr-defined]
    ]
    listed = where.topics.list
    where.topics.list = lambda *, activity=False: [  # type: ignore[method-assign]
        TopicInfo(info.alias, info.name, exists=True, partitions=(PartitionInfo(0, 1, 40, 48),))
        if info.name == topics.TRANSACTIONS.name
        else info
        for info in listed(activity=activity)
    ]
    result = asked(where, Wanted(2))
    assert result.gaps == [
        f"transactions published before {iso(NOON)} are not judged: Kafka has deleted some or all of them"
    ]
    assert asked(where, Wanted(2), since=NOON).gaps == []
    assert what_if_report.document(result, [])["gaps"] == result.gaps


def test_labels_give_precision_and_recall() -> None:
    """Side by side; labels of transactions that were not read are left out, and said."""
    known = {"a": True, "b": True, "c": False, "d": True, "e": False, "nowhere": True}
    result = asked(target(SENT, [flagged(1, EARLY)]), Wanted(2), labels=known)
    before, then = result.confusion[Flags.AS_THEY_WERE], result.confusion[Flags.WITH_LIST]
    assert (before.true_positives, before.false_positives, before.false_negatives, before.true_negatives) == (
        1,
        1,
        2,
        1,
    )
    assert (before.precision, before.recall) == (0.5, 0.3333)
    assert (then.true_positives, then.false_positives, then.false_negatives, then.true_negatives) == (3, 1, 0, 1)
    assert (then.precision, then.recall) == (0.75, 1.0)
    rows = what_if_report.labelled(result)
    assert rows[-1] == {"labelled": "recall", "as they were": "33.3 %", "with the list": "100.0 %"}
    assert what_if_report.notes(result)[-1] == "1 label of transactions that were not read, left out."
    nothing = asked(target(SENT), Wanted(9), labels={"a": False})
    assert (nothing.confusion[Flags.WITH_LIST].precision, nothing.confusion[Flags.WITH_LIST].recall) == (None, None)


lists = st.dictionaries(
    st.integers(0, 9),
    st.tuples(st.none() | st.integers(-30, 30), st.none() | st.integers(-30, 30)),
    max_size=5,
)


@settings(max_examples=25)
@given(st.integers(0, 10_000), lists, st.booleans())
def test_the_counts_of_the_oracle(seed: int, wanted: dict[int, tuple[int | None, int | None]], only: bool) -> None:  # noqa: FBT001 - hypothesis
    """With the list and without; random accounts, flag events and lists."""
    found = history(seed, start=NOON, span=10 * HOUR)
    first = min(t.account for t in found.transactions)
    entries = [
        Wanted(
            first + n,
            NOON + start * HOUR if start is not None else None,
            NOON + end * HOUR if end is not None else None,
        )
        for n, (start, end) in wanted.items()
        if start is None or end is None or start < end
    ]
    sent = [(t.published, transaction_json(t)) for t in found.transactions]
    result = asked(target(sent, found.flags), *entries, only=only)

    before = {identity for identity, *_ in oracle.detections(found.transactions, found.flags)}
    then = set()
    listed = {entry.account: entry for entry in entries}
    for t in found.transactions:
        entry = listed.get(t.account)
        if entry is None or (entry.start is not None and t.date < entry.start):
            flags = [] if only else found.flags
        else:
            flags = [oracle.Flag(0, t.account, 0, flagged=True, reason="")]
            if entry.until is not None:
                flags.append(oracle.Flag(0, t.account, entry.until, flagged=False, reason=""))
        then |= {identity for identity, *_ in oracle.detections([t], flags)}
    for name, expected in ((DETECTED, before), (ADDED, then - before), (REMOVED, before - then), (THEN, then)):
        tally = result.tallies[name]
        assert tally.transactions == len(expected)
        assert tally.accounts == len({account for account, *_ in expected})
        assert tally.amount == len(expected) * Decimal("12.50")


def test_the_quick_way_reads_what_the_record_s_rules_read() -> None:
    """Every line of the corpus of records, and the values that programs write."""
    corpus = (Path(__file__).parents[1] / "data" / "records.jsonl").read_text().splitlines()
    encoded = [json.loads(line).get("value_base64") for line in corpus]
    values = [base64.b64decode(value) for value in encoded if value is not None]
    values += [value for _, value in SENT]
    values += [value.replace(b'":', b'": ').replace(b',"', b', "') for _, value in SENT]
    values += [SENT[0][1].replace(iso(NOON).encode(), b"2026-02-30T00:00:00.000Z"), SENT[0][1].replace(b"0.10", b"7")]
    names = ("Zoë 😀", "Chloé", "Weiß", 128 * "é", 129 * "é", "\x7f", "\u0085", "\ud7ff\ue000", "", 257 * "x")
    values += [SENT[0][1].replace(b'"Ada"', f'"{name}"'.encode()) for name in names]
    values += [SENT[0][1].replace(b"Ada", raw) for raw in (b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff")]
    quickly = 0
    for value in values:
        try:
            expected = records.Transaction.parse(value)
        except records.Malformed:
            with pytest.raises(records.Malformed):
                quick.read(value)
            continue
        seen = quick.read(value)
        assert (seen.account, iso(seen.date), seen.id, quick.amount(seen.cents), seen.merchant) == (
            expected.account_id,
            expected.transaction_date,
            expected.transaction_id,
            expected.amount,
            expected.merchant_type,
        )
        quickly += quick._PLAIN.fullmatch(value) is not None
    assert quickly >= 2 * (len(SENT) - 1) + 4


def test_fields_whose_names_are_escaped_count() -> None:
    """A pattern does not see them; the record's rules do."""
    spelt = SENT[1][1].replace(b'"account_id"', b'"\\u0061ccount_id"').replace(b"Ada", b"\\u00e9")
    result = asked(target([(NOON, spelt)]), Wanted(2), labels={"b": True})
    assert (result.tallies[ADDED].transactions, result.labelled) == (1, 1)
    inside = SENT[1][1].replace(b'"amount"', b'"more":{"account_id":9},"amount"')
    assert asked(target([(NOON, inside)]), Wanted(2)).tallies[ADDED].transactions == 1
    assert asked(target([(NOON, inside)]), Wanted(9)).tallies[ADDED].transactions == 0


def test_a_list_in_any_form(tmp_path: Path) -> None:
    """A plain list, CSV as `accounts list` writes it, JSON Lines; durations in until count from now on."""
    plain = tmp_path / "plain"
    plain.write_text("7\n# a comment\n\n8\n")
    assert flag_list.read(str(plain)) == {7: Wanted(7, line=1), 8: Wanted(8, line=4)}
    table = tmp_path / "list.csv"
    table.write_text(
        "account_id,state,since,until,reason,flagged_by\n"
        f'7,FLAGGED,{iso(NOON)},{iso(NOON + 1)},"\'=late, or stolen",bo\n'
        f"8,CLEARED,{iso(NOON)},,,bo\n"
        "9,SCHEDULED,,30d,,bo\n"
    )
    assert flag_list.read(str(table), clock=lambda: NOON / 1000) == {
        7: Wanted(7, NOON, NOON + 1, "=late, or stolen", 2),
        9: Wanted(9, None, NOON + 30 * 24 * HOUR, None, 4),
    }
    lines = tmp_path / "list.jsonl"
    lines.write_text(
        '{"account": 7, "until": null, "reason": "mule"}\n{"account": "8", "from": "1970-01-02T00:00:00Z"}\n'
    )
    assert flag_list.read(str(lines)) == {7: Wanted(7, None, None, "mule", 1), 8: Wanted(8, 86_400_000, None, None, 2)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("account\n7\n7\n", "line 3: account 7 stands in line 2 already"),
        ("account\nseven\n", "line 2: account 'seven': not an account number"),
        ("account,until\n7,soon\n", "line 2: until: 'soon' is not a time"),
        ("account,from,until\n7,2026-01-02,2026-01-01\n", "line 2: until is not after from"),
        ("account,reason\n7," + 300 * "x" + "\n", "line 2: reason has 300 characters, not 0 to 256"),
        ('{"account": 7, "reason": "\\ud800"}\n', "line 1: reason holds an unpaired surrogate"),
        ("reason,account\nmule,\n", "line 2: no account"),
        ("name,amount\nx,1\n", "no column is account or account_id"),
        ('{"account": [7]}\n', "line 1: account is neither text nor a number"),
        ("{broken\n", "line 1: not JSON"),
        ("account,until\n", "list: contains no account"),
        ("account,state\n7,EXPIRED\n", "list: contains no account"),
        ("", "list: contains no account"),
    ],
)
def test_a_list_that_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    """The line, and what is wrong with it."""
    file = tmp_path / "list"
    file.write_text(text)
    with pytest.raises(BadConfig, match=why):
        flag_list.read(str(file))


def test_labels_in_a_file(tmp_path: Path) -> None:
    """Yes and no in the spellings that data sets have; not both for one transaction."""
    file = tmp_path / "labels.csv"
    file.write_text("transaction_id,fraud\na,yes\nb,0\na,TRUE\n")
    assert labels.read(str(file)) == {"a": True, "b": False}
    file.write_text("transaction_id,fraud\na,yes\na,no\n")
    with pytest.raises(BadConfig, match="line 3: transaction 'a' is labelled both ways"):
        labels.read(str(file))
    file.write_text("transaction_id,fraud\na,perhaps\n")
    with pytest.raises(BadConfig, match="line 2: fraud is 'perhaps', neither yes nor no"):
        labels.read(str(file))
