"""Every format of the report, from records as an audit makes them."""

from __future__ import annotations

import html.parser
import json

import jsonschema
import numpy as np
import pytest

from pytest_labelleak import Sign, Update, Verdict, audit
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.core.settings import Scope, Settings, activate
from pytest_labelleak.plugin.report import html as html_
from pytest_labelleak.plugin.report import json_report, markdown, terminal
from pytest_labelleak.plugin.report import rows as report_

HOSTILE = "test_a.py::test[<script>alert(1)</script>|`*_\x1b[31m\nnew &]"


def record(**changes):
    """Return what one audit leaves behind, with changes."""
    scope = Scope(settings=Settings(attacks=("bias_sign",)))
    error = np.full(400, 0.5 / 399)
    error[1] = -0.5
    update = Update.from_arrays(np.outer([1.0, 2.0], error), bias_gradient=error)
    with activate(scope):
        audit(update, np.array([1]), defence=Sign())
    (found,) = scope.records
    found.pop("figure_ceiling")
    return {"test": "test_a.py::test_a", "index": 0, "test_outcome": "failed", **found, **changes}


def held(**changes):
    made = {"outcome": "held", "figure": 0.02, "test_outcome": "passed", "message": "held", "findings": []}
    return record(**made | changes)


def test_schema_is_a_schema_and_fits():
    schema = json_report.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    report = report_.build([record(), held(test="b")])
    jsonschema.validate(json.loads(json_report.render(report)), schema)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "fine"},
        {"figure": "1.0"},
        {"figure": 2.0},
        {"limit": -0.5},
        {"confidence": 1.0},
        {"upper_bound": 1.5},
        {"labels": [1, 2]},
        {"verdicts": [{"attack": "x"}]},
        {"test_outcome": "error"},
    ],
)
def test_schema_refuses(changes):
    report = report_.build([record()])
    report["audits"][0] |= changes
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, json_report.schema())


def test_build_sorts_and_counts():
    rows = [held(test="b", index=1), record(test="c"), held(test="b"), record(test="a", outcome="inconclusive")]
    report = report_.build(rows)
    assert [(row["test"], row["index"]) for row in report["audits"]] == [("a", 0), ("b", 0), ("b", 1), ("c", 0)]
    assert report["summary"] == {"audits": 4, "held": 2, "accepted": 0, "leaked": 1, "inconclusive": 1}
    assert json_report.render(report) == json_report.render(report_.build(reversed(rows)))


@pytest.mark.parametrize(
    ("changes", "failure", "status"),
    [
        ({}, True, "leaked"),
        ({"asserted": True}, True, "leaked"),
        ({"asserted": True, "test_outcome": "passed"}, False, "leaked, as the test expects"),
        ({"asserted": True, "test_outcome": "xfailed"}, False, "leaked, as the test expects"),
        ({"asserted": False, "test_outcome": "passed"}, False, "leaked, only measured"),
        ({"outcome": "inconclusive"}, True, "inconclusive"),
        ({"outcome": "inconclusive", "test_outcome": "passed"}, False, "inconclusive, only measured"),
        ({"outcome": "held"}, False, "held"),
    ],
)
def test_status(changes, failure, status):
    row = record(**changes)
    assert report_.is_failure(row) is failure
    assert report_.status_of(row) == status


def test_terminal_table():
    rows = [
        held(test="t::b", limit=0.25, limit_source="baseline"),
        record(test="t::c", asserted=True, test_outcome="passed"),
        record(test="t::d"),
        record(
            test="t::a", outcome="inconclusive", strongest_attack=None, message="inconclusive: because", findings=[]
        ),
    ]
    lines = list(terminal.lines(report_.build(rows)))
    assert [kind for _, kind in lines] == ["header", *["failure"] * 4, "notice", "notice", "held"]
    assert [text.split() for text, _ in lines] == [
        ["outcome", "figure", "limit", "attack", "test"],
        ["inconclusive", "-", "0.10", "-", "t::a"],
        ["inconclusive:", "because"],
        ["leaked", "1.00", "0.10", "bias_sign", "t::d"],
        ["read", "from", "'bias'", "(bias_sign)"],
        ["leaked,", "as", "the", "test", "expects", "1.00", "0.10", "bias_sign", "t::c"],
        ["read", "from", "'bias'", "(bias_sign)"],
        ["held", "0.02", "0.25", "(baseline)", "bias_sign", "t::b"],
    ]
    assert terminal.totals(report_.build(rows[:1])) == "1 audit: 1 held, 0 leaked, 0 inconclusive"


def test_confidence_is_shown_with_the_advantage():
    report = report_.build([held(confidence=0.95, upper_bound=0.0871)])
    jsonschema.validate(report, json_report.schema())
    assert "0.02 (at most 0.09 at 95 %)" in markdown.render(report)
    assert "0.02 (at most 0.09 at 95 %)" in html_.render(report)
    assert any("0.02 (at most 0.09 at 95 %)" in text for text, _ in terminal.lines(report))


def test_positions_are_noted_for_what_held_too():

    def read(share, batches):
        declared = Labels.declared
        stats = {"positions_exact": share}
        verdict = Verdict(attack="a", status="recovered", batches=batches, declared=declared, stats=stats)
        return {"findings": [finding.to_record() for finding in Labels().findings([verdict])]}

    rows = [held(**read(0.5, 4)), record(test="b", **read(1.0, 1)), held(test="c")]
    report = report_.build(rows)
    jsonschema.validate(report, json_report.schema())
    for text in (markdown.render(report), html_.render(report)):
        assert text.count("was read exactly in") == 2
        assert "read exactly in 2 of 4 batch(es)" in text
        assert "read exactly in 1 of 1 batch(es)" in text


def test_hostile_names_stay_text():
    rows = [record(test=HOSTILE, message=HOSTILE, defence=HOSTILE, strongest_attack=HOSTILE)]
    report = report_.build(rows)
    for text, _ in terminal.lines(report):
        assert text.isprintable()
    table = markdown.render(report)
    assert "<script>" not in table
    assert "\x1b" not in table
    (row,) = [line for line in table.splitlines() if "test" in line and "alert" in line]
    assert row.replace("\\|", "").count("|") == 7
    page = html_.render(report)
    assert "<script" not in page
    assert "\x1b" not in page


def test_html_is_well_formed_and_loads_nothing():
    class Checker(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []
            self.cells = 0

        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "link", "img", "iframe")
            assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
            if tag not in ("meta", "br"):
                self.open.append(tag)
            self.cells += tag == "td"

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(html_.render(report_.build([record(test=HOSTILE), held()])))
    assert checker.open == []
    assert checker.cells == 16


@pytest.mark.slow
def test_markdown_stays_within_its_bounds():
    rows = [held(test=f"t::ü{i}") for i in range(500)] + [record(test="t::zz")]
    report = report_.build(rows)
    whole = markdown.render(report)
    assert whole.count("\n| held") == 500
    for limit in (2_000, 10_000, 20_000):
        text = markdown.render(report, max_bytes=limit)
        assert limit - 400 < len(text.encode()) <= limit
        assert "❌ leaked" in text.splitlines()[6]
        shown = text.count("\n| held") + 1
        assert text.endswith(f"{501 - shown} more audits do not fit here; the JSON report has all.\n")
    assert markdown.render(report, max_bytes=len(whole.encode()) + 200) == whole


def test_markdown_without_audits():
    text = markdown.render(report_.build([]))
    assert text == "## Label leakage\n\n0 audits: 0 held, 0 leaked, 0 inconclusive.\n"


def test_labels_only_where_asked_for():
    for show in (False, True):
        scope = Scope(settings=Settings(attacks=("bias_sign",), show_labels=show))
        error = np.array([0.2, -0.5, 0.2, 0.1])
        with activate(scope):
            audit(Update.from_arrays(np.outer([1.0], error), bias_gradient=error), np.array([1]))
        scope.records[0].pop("figure_ceiling")
        report = report_.build([{"test": "a", "index": 0, "test_outcome": "passed", **scope.records[0]}])
        jsonschema.validate(report, json_report.schema())
        assert ('"recovered": [' in json_report.render(report)) is show
