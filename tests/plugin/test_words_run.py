"""Words and sensitive terms in a whole run: reports carry numbers and indices, and no output any word.

The inner project says two words that occur nowhere else. One is a sensitive term, and its tests hold it as a literal.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path

import jsonschema
import pytest

from pytest_labelleak.plugin.report import json_report

from .test_options import usage_error
from .test_redaction import EVERYTHING, FILES

TERM, WORD = "xylophone", "quokka"

SPEECH = """
import string
import numpy as np
from pytest_labelleak import Update
from pytest_labelleak.asr import WordPieces

TERM, WORD = "xylo" + "phone", "quo" + "kka"
WORDS = (f"\\u2581{word}" for word in (TERM, WORD, "cat", "dog"))
ENTRIES = ("<unk>", "<s>", "</s>", "\\u2581", *string.ascii_lowercase, *WORDS)
VOCABULARY = WordPieces(entries=ENTRIES)

def make(text=f"{TERM} {WORD}"):
    labels = np.array([*VOCABULARY.encode(text), 2])
    rng = np.random.default_rng(0)
    H = rng.normal(size=(len(labels), 20))
    P = np.full((len(labels), len(ENTRIES)), 1 / len(ENTRIES))
    D = (P - np.eye(len(ENTRIES))[labels]) / len(labels)
    return Update.from_arrays(H.T @ D, bias_gradient=D.sum(axis=0), compute_dtype="float64"), labels
"""

TESTS = f"""
import pytest
from pytest_labelleak import assert_words_not_recoverable, audit
from speech import TERM, VOCABULARY, WORD, make

def test_leak(labelleak):
    local = [TERM, WORD]
    labelleak.assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, sensitive=local[:1])

def test_literal():
    assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, sensitive=["cat", "{TERM}"])

@pytest.mark.labelleak(sensitive=["{TERM}"], threshold=1.0)
def test_marked():
    # Not even {TERM.upper()}.
    assert_words_not_recoverable(*make(), vocabulary=VOCABULARY)

def test_literal_in_a_bad_list():
    assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, sensitive=["{TERM}", 3])

def test_absent():
    assert_words_not_recoverable(*make("cat dog"), vocabulary=VOCABULARY, sensitive=["{TERM}"], threshold=1.0)

def test_assertion_about_words():
    result = audit(*make(), vocabulary=VOCABULARY)
    words = VOCABULARY.decode(make()[1]).split()
    assert words == [], f"said {{words}}"

def test_assertion_about_a_text():
    audit(*make(), vocabulary=VOCABULARY)
    text = VOCABULARY.decode(make()[1])
    assert text == "nothing"

def test_key():
    audit(*make(), vocabulary=VOCABULARY)
    {{}}[WORD]

def test_chain():
    try:
        raise ValueError("{TERM} is not known")
    except ValueError as error:
        assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, sensitive=["{TERM}"])

def test_holds():
    found = assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, threshold=1.0)
    assert found.words["number"] == 2
"""


@pytest.fixture
def speech(project):
    project.makepyfile(speech=SPEECH, test_speech=TESTS)
    return project


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        (("-l", "-vv", "--tb=long"), None),
        (("-l", "--tb=auto"), None),
        (("-l", "--tb=short"), None),
        (("--tb=native",), None),
        (("--tb=line",), None),
        (("-l", "-vvv", "--full-trace"), None),
        (("-l", "-vv"), 2),
    ],
)
def test_no_output_holds_a_word(speech, run, monkeypatch, arguments, workers):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(speech.path / "summary.md"))
    result = run(*arguments, *EVERYTHING, workers=workers)
    result.assert_outcomes(failed=9, passed=1)
    written = {name: Path(speech.path, name).read_text("utf-8") for name in FILES}
    for name, text in {"terminal": result.stdout.str(), "errors": result.stderr.str(), **written}.items():
        for word in (TERM, WORD):
            assert word not in text.lower(), f"it is in {name}: {text[text.lower().index(word) - 300 :][:400]}"


@pytest.mark.parametrize("style", ["auto", "native", "line"])
def test_no_word_is_shown_where_a_module_audits(speech, run, style):
    speech.makepyfile(
        test_speech=f"""
        from pytest_labelleak import assert_words_not_recoverable
        from speech import VOCABULARY, make
        assert_words_not_recoverable(*make(), vocabulary=VOCABULARY, sensitive=["{TERM}"])
        """
    )
    result = run("-l", "-vv", f"--tb={style}")
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    assert "LabelLeak: leaked" in text
    assert TERM not in text
    assert WORD not in text


def test_words_are_shown_on_request(speech, run, report):
    text = run("-l", "-k", "test_leak", "--labelleak-show-labels", "--labelleak-report=report.json").stdout.str()
    assert f"formed: [['{WORD}', '{TERM}']]" in text
    document = report()
    assert document["audits"][0]["verdicts"][0]["statistics"]["formed"] == [[WORD, TERM]]
    jsonschema.validate(document, json_report.schema())


def test_reports_carry_numbers_and_indices(speech, run, report, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(speech.path / "summary.md"))
    result = run("-k", "test_literal or test_marked or test_absent or test_holds", *EVERYTHING)
    document = report()
    jsonschema.validate(document, json_report.schema())
    rows = {row["test"].partition("::")[2]: row for row in document["audits"]}
    statistics = {test: row["statistics"] for test, row in rows.items()}
    assert statistics["test_literal"]["words"] == {"number": 2.0, "recovered": 1.0, "advantage": 1.0, "lexicon": 4}
    assert statistics["test_literal"]["sensitive"] == {"listed": 2, "present": 1, "exposed": [1]}
    assert statistics["test_marked"]["sensitive"] == {"listed": 1, "present": 1, "exposed": [0]}
    assert (rows["test_marked"]["outcome"], rows["test_marked"]["limit"]) == ("leaked", 1.0)
    assert rows["test_absent"]["outcome"] == "inconclusive"
    held = statistics["test_holds"]
    assert (held["sensitive"], held["words"]["recovered"]) == (None, 1.0)
    assert rows["test_literal"]["variables"] == ["bias"]
    line = "sensitive terms: 2 listed, 1 present, 1 exposed (index 1)"
    assert line in result.stdout.str()
    written = [(speech.path / name).read_text("utf-8") for name in ("report.md", "report.html", "summary.md")]
    for text in written:
        assert line.replace("(", "").replace(")", "") in text.replace("(", "").replace(")", "").replace("\\", "")
        assert "100 % of 2 words can be formed" in text
        assert "read from" in text
    properties = {
        item.get("name"): item.get("value")
        for case in xml.etree.ElementTree.parse(speech.path / "junit.xml").iter("testcase")
        if case.get("name") == "test_literal"
        for item in case.iter("property")
    }
    assert properties["labelleak_words"] == "2"
    assert properties["labelleak_words_recovered"] == "1.0"
    assert properties["labelleak_sensitive"] == "sensitive terms: 2 listed, 1 present, 1 exposed (index 1)"


def test_a_list_for_the_project(speech, run, report, monkeypatch):
    """It is found beside the ini file, checked where a term happens to occur, and can be switched off or replaced."""
    (speech.path / "terms.txt").write_text(f"# ours\nzebra\n{TERM}\n", "utf-8")
    speech.makeini("[pytest]\npythonpath = .\nlabelleak_sensitive = terms.txt\nlabelleak_threshold = 1.0\n")
    speech.makepyfile(
        test_speech="""
        import pytest
        from speech import VOCABULARY, make

        def test_present(labelleak):
            labelleak.assert_words_not_recoverable(*make(), vocabulary=VOCABULARY)

        def test_absent(labelleak):
            labelleak.assert_words_not_recoverable(*make("cat dog"), vocabulary=VOCABULARY)

        @pytest.mark.labelleak(sensitive=False)
        def test_off(labelleak):
            labelleak.assert_words_not_recoverable(*make(), vocabulary=VOCABULARY)

        def test_labels(labelleak):
            labelleak.assert_labels_not_recoverable(*make())
        """
    )
    folder = speech.mkdir("elsewhere")
    monkeypatch.chdir(folder)
    arguments = ("..", "--rootdir=..", "-c", "../tox.ini", "--labelleak-report=../report.json")
    run(*arguments).assert_outcomes(failed=1, passed=3)
    rows = {row["test"].partition("::")[2]: row["statistics"].get("sensitive") for row in report()["audits"]}
    assert rows == {
        "test_present": {"listed": 2, "present": 1, "exposed": [1]},
        "test_absent": {"listed": 2, "present": 0, "exposed": []},
        "test_off": None,
        "test_labels": None,
    }
    (folder / "other.txt").write_text("zebra\n", "utf-8")
    run(*arguments, "--labelleak-sensitive=other.txt").assert_outcomes(passed=4)


def test_a_list_that_cannot_be_read(speech, run):
    assert "cannot be read" in usage_error(run("--labelleak-sensitive=nowhere.txt"))
    (speech.path / "empty.txt").write_text("# none yet\n", "utf-8")
    speech.makeini("[pytest]\nlabelleak_sensitive = empty.txt\n")
    message = usage_error(run())
    assert message.startswith("ERROR: ini option labelleak_sensitive: the file ")
    assert "empty.txt' holds no term" in message


def test_confidence_can_be_switched_off(speech, run):
    speech.makeini("[pytest]\npythonpath = .\nlabelleak_confidence = 0.95\n")
    speech.makepyfile(
        test_speech="""
        import pytest
        from pytest_labelleak import audit
        from speech import make

        def test_project():
            assert audit(*make()).confidence == 0.95

        def test_call():
            assert audit(*make(), confidence=False).confidence is None

        @pytest.mark.labelleak(confidence=False)
        def test_marker():
            assert audit(*make()).confidence is None
            assert audit(*make(), confidence=0.5).confidence == 0.5
        """
    )
    run().assert_outcomes(passed=3)


def test_the_baseline_ratchets_words(speech, run):
    speech.makepyfile(
        test_speech="""
        from speech import VOCABULARY, make
        def test_it(labelleak):
            labelleak.assert_words_not_recoverable(*make(), vocabulary=VOCABULARY)
        """
    )
    assert run("--labelleak-baseline=base.json", "--labelleak-update-baseline").ret == 1
    assert json.loads((speech.path / "base.json").read_text("utf-8"))["entries"] == {"test_speech.py::test_it": [1.0]}
    assert run("--labelleak-baseline=base.json").ret == 0
