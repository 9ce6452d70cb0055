"""Words: what assert_words_not_recoverable calls a leak, a pass and neither."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest

from pytest_labelleak import (
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Truth,
    Update,
    assert_words_not_recoverable,
    audit,
)
from pytest_labelleak.asr import Graphemes, WordPieces
from pytest_labelleak.asr.scoring.words import WordScorer
from pytest_labelleak.asr.text.spoken import spoken_words
from pytest_labelleak.auditing.questions.words import Words
from pytest_labelleak.auditing.verdict import Verdict
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.core.sensitive import sensitive_terms
from pytest_labelleak.core.settings import Scope, Settings, activate

WORDS = (
    *("the", "cat", "sat", "on", "a", "mat", "dog", "ann", "smith", "denies", "pain", "sun", "moon", "tree", "fish"),
    *("bird", "stone", "river"),
)
VOCABULARY = WordPieces(
    entries=(
        "<unk>",
        "<s>",
        "</s>",
        "▁",
        *string.ascii_lowercase,
        *(f"▁{word}" for word in WORDS),
        "▁pa",
        "tient",
        "'s",
    )
)
END = 2
TEXT = "ann smith denies pain"


def tokens(*texts):
    """Return the labels of utterances, each with its end."""
    return np.array([token for text in texts for token in [*VOCABULARY.encode(text), END]])


def update_of(labels, *, classes=VOCABULARY.size, seed=0, bias=False, features=40):
    """Return the update of an untrained softmax head with signed features."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(len(labels), features))
    logits = inputs @ rng.normal(0.0, 0.05, (features, classes))
    error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1.0
    error /= len(labels)
    return Update.from_arrays(
        inputs.T @ error, bias_gradient=error.sum(axis=0) if bias else None, compute_dtype="float64"
    )


class Names:
    """Names the tokens it was made with, whatever the update."""

    name = "names"

    def __init__(self, *named):
        self.named = tuple(sorted({int(token) for token in named}))

    def __call__(self, update, *, rng):
        return Recovery(attack=self.name, status=Status.RECOVERED, labels=self.named)


def check(labels, *named, **options):
    """Audit a claim of tokens about a batch."""
    update = update_of(tokens(TEXT))
    return audit(update, labels, vocabulary=VOCABULARY, attacks=Names(*named), **options)


def test_words_leak_from_a_real_gradient():
    labels = tokens(TEXT)
    with pytest.raises(LabelLeak, match="leaked: advantage 1") as caught:
        assert_words_not_recoverable(update_of(labels), labels, vocabulary=VOCABULARY)
    found = caught.value.audit
    assert found.words == {"number": 4.0, "recovered": 1.0, "advantage": 1.0, "lexicon": len(WORDS)}
    assert found.sensitive is None
    assert "100 % of 4 words can be formed" in str(caught.value)
    assert not [word for word in TEXT.split() if word in str(caught.value)]


@pytest.mark.slow
def test_a_defence_holds_with_its_control():
    labels = tokens(TEXT)
    noise = GaussianNoise(relative=1000.0)
    held = assert_words_not_recoverable(
        update_of(labels, bias=True), labels, vocabulary=VOCABULARY, defence=noise, sensitive=["pain"], threshold=0.5
    )
    assert held.sensitive == {"listed": 1, "present": 1, "exposed": []}
    assert held.control[0].words == 4.0


def test_marks_are_no_secret():
    """That an end was said, which every transcript has, is neither present nor a claim."""
    labels = tokens(TEXT)
    (verdict,) = check(labels, END, 1).verdicts
    assert (verdict.labels, verdict.claimed, verdict.advantage, verdict.words_recovered) == (4.0, 0.0, 0.0, 0.0)
    assert check(labels, *labels, 1).verdicts[0].exact_match == 1.0


def test_words_are_formed_from_pieces():
    labels = tokens("the patient")
    pieces = [VOCABULARY.entries.index(piece) for piece in ("▁pa", "tient")]
    (verdict,) = check(labels, *pieces).verdicts
    assert (verdict.words, verdict.words_recovered) == (2.0, 0.5)
    assert verdict.recall == 0.0  # neither token was said


def test_advantage_over_words_counts_those_not_said():
    """Tokens that form as large a share of the other words as of those said tell nothing."""
    labels = tokens("the cat")
    everything = [token for token in range(VOCABULARY.size) if token > 3]
    (verdict,) = check(labels, *everything).verdicts
    assert (verdict.words_recovered, verdict.words_false_positive_rate, verdict.words_advantage) == (1.0, 1.0, 0.0)
    half = [VOCABULARY.entries.index(f"▁{word}") for word in ("the", "dog")]
    (verdict,) = check(labels, *half, lexicon=["cat", "dog", "sun", "moon", "fish"]).verdicts
    assert verdict.words_advantage == pytest.approx(1 / 2 - 1 / 4)


def test_the_larger_advantage_decides():
    pieces = [VOCABULARY.entries.index(piece) for piece in ("▁pa", "tient")]
    text = "ann smith denies pain the cat sat on a mat"
    found = check(tokens(f"patient {text}"), *pieces, *tokens(text)[:-1], threshold=0.8)
    assert found.outcome == "leaked"
    assert found.message.startswith("leaked: words advantage 0.89 > 0.80")  # "pa" may be a word too


def test_a_word_that_is_formed_can_be_luck():
    """Words are formed from tokens, so that they are no luck if the tokens are none."""
    pieces = [VOCABULARY.entries.index(piece) for piece in ("▁pa", "tient")]
    found = check(tokens("patient"), *pieces, threshold=0.5)
    assert found.outcome == "inconclusive"
    assert found.message.startswith(
        "inconclusive: words advantage 0.94 > 0.50 (names), but claims that are independent"
    )


def test_a_word_is_formed_from_the_tokens_that_said_it():
    """Behind a quotation mark, a word has no piece that begins one."""
    vocabulary = WordPieces(entries=("<unk>", "▁", '▁"', *string.ascii_lowercase, "hello", "▁you", '"'))
    labels = np.array([vocabulary.entries.index(piece) for piece in ('▁"', "hello", "▁you", '"')])
    truth = Truth(labels=labels, classes=vocabulary.size)
    assert [word.text for word in spoken_words(labels, vocabulary)[0]] == ["hello", "you"]
    scorer = WordScorer(vocabulary, sensitive=sensitive_terms(["Hello you"]))
    assert scorer.found(labels[:2], truth) == {"words_recovered": 0.5, "formed": (("hello",),), "sensitive_exposed": ()}
    assert scorer.found(labels[1:3], truth) == {
        "words_recovered": 1.0,
        "formed": (("hello", "you"),),
        "sensitive_exposed": (0,),
    }


def test_single_characters_have_no_words_of_their_own():
    vocabulary = Graphemes()
    labels = np.array([*vocabulary.encode("so it is"), END])
    scorer = WordScorer(vocabulary)
    assert scorer.lexicon == 0
    found = scorer.found(labels, Truth(labels=labels, classes=76))
    assert found == {"words_recovered": 1.0, "formed": (("is", "it", "so"),)}
    found = WordScorer(vocabulary, lexicon=["toss", "cat"]).found(labels, Truth(labels=labels, classes=76))
    assert found["words_advantage"] == 0.5


def test_utterances_are_apart():
    """The last word of one and the first of the next are not one word, with or without an end between them."""
    vocabulary = Graphemes()
    said = [np.array(vocabulary.encode(text)) for text in ("so", "it")]
    labels = np.concatenate(said)

    def read(lengths):
        return [[word.text for word in stretch] for stretch in spoken_words(labels, vocabulary, lengths=lengths)]

    assert read([2, 2]) == [["so"], ["it"]]
    assert read(None) == [["soit"]]
    with pytest.raises(InvalidArgumentError, match="lengths of the sequences do not add up"):
        Truth(labels=labels, classes=76, lengths=[1, 2])


# Sensitive terms.


def test_a_sensitive_term_is_a_leak_whatever_the_average():
    labels = tokens(TEXT, "the cat sat on a mat", "the dog")
    named = [VOCABULARY.entries.index(f"▁{word}") for word in ("ann", "smith")]
    found = check(labels, *named, threshold=1.0, sensitive=["zebra", "Ann Smith", "dog"])
    assert (found.outcome, found.sensitive) == ("leaked", {"listed": 3, "present": 2, "exposed": [1]})
    assert "1 of 2 sensitive term(s) that were said can be formed (names): index 1 of the list" in found.message
    assert check(labels, *named[:1], threshold=1.0, sensitive=["zebra", "Ann Smith", "dog"]).outcome == "held"


def test_a_baseline_accepts_no_sensitive_term():
    labels = tokens(TEXT)
    scope = Scope(recorded_limit=lambda index: 1.0)
    with activate(scope), pytest.raises(LabelLeak, match="Neither threshold nor baseline"):
        assert_words_not_recoverable(update_of(labels), labels, vocabulary=VOCABULARY, sensitive=["pain"])


@pytest.mark.parametrize(
    ("term", "said", "present"),
    [
        ("Smith", "ann smith", True),
        ("ANN  smith", "ann smith", True),
        ("smith", "ann smith's cat", True),
        ("smith ann", "ann smith", False),
        ("ann cat", "ann smith cat", False),
        ("mith", "ann smith", False),
        ("smit", "ann smith", False),
    ],
)
def test_where_a_term_occurs(term, said, present):
    labels = tokens(said)
    found = check(labels, *labels, threshold=1.0, sensitive=[term, "sat"])
    assert found.sensitive["present"] == int(present)
    assert found.sensitive["exposed"] == [0] * present


def test_terms_do_not_run_across_utterances():
    assert check(tokens("ann", "smith"), sensitive=["ann smith", "ann"]).sensitive["present"] == 1


def test_a_list_that_does_not_occur_is_inconclusive():
    labels = tokens("the cat")
    found = check(labels, threshold=1.0, sensitive=["smith", "pain"])
    assert found.outcome == "inconclusive"
    assert "none of the 2 sensitive term(s) occurs in the transcripts" in found.message
    # A list for the whole project is checked where one of its terms happens to occur.
    projects = sensitive_terms(["smith", "pain"], must_occur=False)
    with activate(Scope(settings=Settings(sensitive=projects))):
        assert check(labels, threshold=1.0).outcome == "held"
        assert check(tokens("smith"), *tokens("smith"), threshold=1.0).outcome == "leaked"
        assert check(tokens("smith"), *tokens("smith"), threshold=1.0, sensitive=False).outcome == "held"
        assert check(tokens("smith"), *tokens("smith"), threshold=1.0, sensitive=["smith"]).outcome == "leaked"


def test_naming_everything_exposes_nothing():
    """Who names half of all tokens, or all, names a sensitive one by accident."""
    labels = tokens("ann")
    everything = range(VOCABULARY.size)
    assert check(labels, *everything, threshold=1.0, sensitive=["ann"]).sensitive["exposed"] == []
    few = [*labels, VOCABULARY.entries.index("▁dog")]
    assert check(labels, *few, threshold=1.0, sensitive=["ann"]).sensitive["exposed"] == [0]


def test_batches_are_pooled():
    batches = [tokens("ann denies"), tokens("smith denies"), tokens("the cat")]
    update = update_of(tokens(TEXT))
    named = VOCABULARY.entries.index("▁smith")
    found = audit(
        update, iter(batches), vocabulary=VOCABULARY, attacks=Names(named), sensitive=["ann", "smith"], confidence=0.9
    )
    (verdict,) = found.verdicts
    assert found.sensitive == {"listed": 2, "present": 2, "exposed": [1]}
    assert (verdict.words, verdict.words_recovered) == (2.0, pytest.approx(1 / 6))
    assert len(verdict.series) == 2
    assert verdict.upper_bound > 0.5


@pytest.mark.slow
def test_a_control_that_misses_a_term_is_inconclusive():
    """A defence is not credited for a term that nobody can form without it either."""
    labels = tokens(TEXT)
    named = [token for token in labels if token != VOCABULARY.entries.index("▁pain")]

    class Undefended(Names):
        def __call__(self, update, *, rng):
            return Recovery(attack="names", status=Status.RECOVERED, labels=() if update.defences else self.named)

    update = update_of(labels)
    options = {"vocabulary": VOCABULARY, "defence": GaussianNoise(relative=1000.0)}
    for sensitive, outcome in ((["ann"], "held"), (["ann", "pain"], "inconclusive")):
        for threshold in (0.1, 1.0):
            found = audit(
                update, labels, attacks=Undefended(*named), sensitive=sensitive, threshold=threshold, **options
            )
            assert found.outcome == outcome, (sensitive, threshold, found.message)
    assert "1 of 2 sensitive term(s) that were said cannot be formed without the defence" in found.message


def test_a_control_goes_on_until_every_term_is_exposed():
    """That an attack is beyond the threshold is not enough to leave out one that may expose what it missed."""

    def verdict(name, *exposed):
        stats = {"advantage": 1.0, "sensitive_present": (0, 1), "sensitive_exposed": exposed}
        return Verdict(attack=name, status=Status.RECOVERED, figure=1.0, declared=Words.declared, stats=stats)

    question = Words.of(VOCABULARY)
    assert not question.shown_possible([[verdict("first", 0)]], 0.1)
    assert question.shown_possible([[verdict("first", 0)], [verdict("second", 1)]], 0.1)


# Files and mistakes.


def test_a_file_of_terms(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("\ufeff# names\n\n  Ann Smith \n#pain\ndog\n", "utf-8")
    for given in (path, str(path)):
        assert sensitive_terms(given).terms == ("Ann Smith", "dog")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "sensitive is empty, so that it would test nothing"),
        (["zebra", ""], "sensitive has no letter or digit at index 1"),
        (["zebra", 3], "sensitive holds a int at index 1"),
        (7, "sensitive is a int"),
        (b"zebra", "sensitive is a bytes"),
        ({"zebra"}, "sensitive is a set"),
        ("zebra", "the file that sensitive names cannot be read: No such file or directory. One term alone"),
        (Path("no") / "such", r"the file 'no.such' cannot be read: No such file"),
        (["zebra", "señor"], "sensitive has a term at index 1 with characters that the vocabulary cannot express"),
    ],
)
def test_lists_that_cannot_be_used(given, message):
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        check(tokens("the cat"), sensitive=given)
    assert "zebra" not in str(caught.value)
    assert "señor" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("# nothing\n", "utf-8")
    with pytest.raises(InvalidArgumentError, match="holds no term"):
        sensitive_terms(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgumentError, match="it is no UTF-8 text"):
        sensitive_terms(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": None}, "vocabulary is None"),
        ({"vocabulary": 3}, "vocabulary is a int"),
        ({"vocabulary": "no/such/file"}, "cannot read the vocabulary 'no/such/file'"),
        ({"vocabulary": Graphemes()}, "the vocabulary has 76 tokens, and the head 20 outputs"),
        ({"vocabulary": WordPieces(entries=("<unk>", "a"))}, "1 of 1 labels are beyond the vocabulary's 2 tokens"),
        ({"lexicon": "cat"}, "lexicon is a str"),
        ({"lexicon": ["cat sat"]}, "lexicon has 1 entries that are not all words"),
        ({"lexicon": []}, "lexicon has 0 entries"),
    ],
)
def test_mistakes(options, message):
    small = WordPieces(entries=("<unk>", *string.ascii_lowercase[:19]))
    with pytest.raises(InvalidArgumentError, match=message):
        assert_words_not_recoverable(update_of([3], classes=20), np.array([3]), **{"vocabulary": small, **options})


def test_a_list_needs_a_vocabulary():
    with pytest.raises(InvalidArgumentError, match="sensitive= is given and vocabulary= is not"):
        audit(update_of([3]), np.array([3]), sensitive=["cat"])
    with pytest.raises(InvalidArgumentError, match="samples=True and vocabulary= are given"):
        audit(update_of([3]), np.array([3]), vocabulary=VOCABULARY, samples=True)


def test_no_words_is_inconclusive():
    with pytest.raises(InconclusiveAudit, match="holds no label"):
        assert_words_not_recoverable(update_of([END]), np.array([END]), vocabulary=VOCABULARY)


def test_nothing_private_is_in_a_repr():
    terms = sensitive_terms(["smith"])
    scorer = WordScorer(VOCABULARY, lexicon=["smith"], sensitive=terms)
    labels = tokens("ann smith")
    found = check(labels, *labels, threshold=1.0, sensitive=["smith"])
    words = spoken_words(labels, VOCABULARY)
    assert "smith" not in repr([terms, scorer, found, words, Settings(sensitive=terms), found.to_record()])


def test_terms_are_hidden_in_text():
    terms = sensitive_terms(["Ann", "Ann Smith", "c++"])
    assert terms.hidden_in("see ann, Annie and ANN\n smith in C++.") == (
        "see <sensitive term 0>, Annie and <sensitive term 1> in <sensitive term 2>."
    )


# Which variable it was.


def test_the_verdict_names_the_variables():
    labels = tokens(TEXT)
    found = audit(update_of(labels, bias=True), labels, vocabulary=VOCABULARY)
    read = {verdict.attack: verdict.variables for verdict in found.verdicts if verdict.status == Status.RECOVERED}
    assert read["bias_sign"] == ("bias",)
    assert read["rlg"] == ("kernel", "bias")
    assert found.to_record()["variables"] == list(found.strongest.variables)


def test_what_exposed_a_term_is_named_below_the_limit_too():
    labels = tokens(TEXT)
    with pytest.raises(LabelLeak, match=r"read from 'kernel' \(rlg\)"):
        assert_words_not_recoverable(
            update_of(labels), labels, vocabulary=VOCABULARY, sensitive=["pain"], threshold=1.0, attacks="rlg"
        )


def test_an_embedding_is_named_as_what_needs_no_attack():
    labels = tokens(TEXT)
    table = np.zeros((VOCABULARY.size, 6))
    table[[1, *labels[:-1]]] = np.random.default_rng(0).normal(size=(len(labels), 6))
    update = update_of(labels)
    update = Update(
        gradients={**update.gradients, "decoder/emb": table}, head=update.head, compute_dtype=update.compute_dtype
    )
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(update, labels, vocabulary=VOCABULARY)
    assert caught.value.audit.strongest.variables == ("decoder/emb",)
    assert (
        "read from 'decoder/emb' (embedding_rows: only the rows of the batch's tokens move in 'decoder/emb': it "
        "betrays them with no attack at all); 'kernel' (llg, rlg)"
    ) in str(caught.value)
