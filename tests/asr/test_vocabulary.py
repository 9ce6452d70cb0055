"""Every vocabulary spells its tokens, and cuts and joins transcripts."""

from __future__ import annotations

import json

import pytest

from pytest_labelleak import InvalidArgumentError
from pytest_labelleak.asr import Graphemes, SentencePieces, TokenizerFile, Vocabulary, WordPieces
from pytest_labelleak.asr.text.loading import load_vocabulary

CORPUS = ["the cat sat on the mat", "a cat is not a mat", "the hat and the cat", "that is what they said"] * 20
ENTRIES = ["<unk>", "<s>", "</s>", "▁", *"abcdehimnorstwxy", "th", "at", "▁c", "▁the", "▁cat", "▁m", "▁mat", "▁t"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module")
def word_pieces(folder):
    path = folder / "pieces.vocab"
    path.write_text("\n".join(f"{entry}\t{-index}" for index, entry in enumerate(ENTRIES)) + "\n", "utf-8")
    return WordPieces.load(path)


@pytest.fixture(scope="module")
def sentence_pieces(folder):
    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "sp"),
        vocab_size=22,
        minloglevel=2,
    )
    return SentencePieces.load(folder / "sp.model")


def tokenizer_json(folder, style):
    library = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = ["<unk>", "<|end|>"]
    if style == "WordPiece":
        tokenizer = library.Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False)
    else:
        tokenizer = library.Tokenizer(models.BPE(unk_token="<unk>"))
        alphabet = []
        if style == "ByteLevel":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
        elif style == "Metaspace":
            tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        else:  # as in Llama's files: a sequence that begins with a replacement
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
            tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
            tokenizer.decoder = decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
            )
        trainer = trainers.BpeTrainer(
            vocab_size=len(alphabet) + 60, special_tokens=special, show_progress=False, initial_alphabet=alphabet
        )
    tokenizer.train_from_iterator(CORPUS, trainer)
    path = folder / f"{style}.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(
    scope="module",
    params=["word pieces", "graphemes", "sentencepiece", "ByteLevel", "Metaspace", "WordPiece", "Sequence"],
)
def vocabulary(request, folder):
    if request.param == "graphemes":
        return Graphemes()
    if request.param == "word pieces":
        return request.getfixturevalue("word_pieces")
    if request.param == "sentencepiece":
        return request.getfixturevalue("sentence_pieces")
    return TokenizerFile.load(tokenizer_json(folder, request.param))


def test_transcripts_come_back(vocabulary):
    assert isinstance(vocabulary, Vocabulary)
    for text in ("the cat", "a mat", "that hat"):
        tokens = vocabulary.encode(text)
        assert all(0 <= token < vocabulary.size for token in tokens)
        assert not vocabulary.special.intersection(tokens)
        assert vocabulary.decode(tokens) == text
        assert "".join(map(vocabulary.text, tokens)).strip() == text


def test_special_tokens_have_no_text(vocabulary):
    assert vocabulary.special
    assert {vocabulary.text(token) for token in vocabulary.special} == {""}
    assert vocabulary.decode(sorted(vocabulary.special)) == ""


def test_a_word_has_the_same_tokens_wherever_it_stands(vocabulary):
    if isinstance(vocabulary, Graphemes):
        return
    alone, inside = vocabulary.encode("cat"), vocabulary.encode("the cat")
    assert inside[-len(alone) :] == alone
    assert vocabulary.text(alone[0]).startswith(" ")


def test_no_piece_is_in_the_repr(vocabulary):
    assert "cat" not in repr(vocabulary)
    assert len(repr(vocabulary)) < 200


def test_a_vocabulary_is_read_by_what_its_file_is(folder, word_pieces, sentence_pieces):
    assert load_vocabulary(word_pieces) is word_pieces
    for path, kind in (("sp.model", SentencePieces), ("pieces.vocab", WordPieces)):
        for given in (folder / path, str(folder / path)):
            assert type(load_vocabulary(given)) is kind
    assert type(load_vocabulary(tokenizer_json(folder, "ByteLevel"))) is TokenizerFile
    with pytest.raises(InvalidArgumentError, match="vocabulary is a dict"):
        load_vocabulary({})


def test_word_pieces_join_the_pair_of_lowest_number(word_pieces):
    assert [ENTRIES[token] for token in word_pieces.encode("the hat")] == ["▁the", "▁", "h", "at"]
    # "th" has a lower number than "▁t", so it is joined first.
    assert [ENTRIES[token] for token in word_pieces.encode("this")] == ["▁", "th", "i", "s"]
    assert word_pieces.encode("q") == [ENTRIES.index("▁"), 0]


def test_graphemes_are_those_of_lingvo():
    vocabulary = Graphemes()
    assert vocabulary.size == 76
    assert vocabulary.encode("A z'9") == [5, 3, 30, 32, 48]
    assert vocabulary.special == {0, 1, 2, 4, 73, 74, 75}
    assert vocabulary.encode("é") == [0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<unk>\na\na\n", "3 pieces, of which 1 repeat"),
        ("a\nb\n", "2 pieces and no '<unk>'"),
        (None, "No such file"),
        (b"\xff\xfe\x00", "no UTF-8"),
    ],
)
def test_word_piece_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidArgumentError, match=message):
        WordPieces.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "other contents"),
        ("[]", "other contents"),
        (json.dumps({"decoder": {"type": "CTC"}, "added_tokens": [], "model": {}}), "does not accept"),
    ],
)
def test_tokenizer_files_that_are_none(tmp_path, content, message):
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=message):
        TokenizerFile.load(path)


def test_pieces_that_do_not_say_where_a_word_begins(folder):
    content = json.loads(tokenizer_json(folder, "WordPiece").read_text())
    content["decoder"] = None
    path = folder / "silent.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidArgumentError, match="ByteLevel, Metaspace or WordPiece"):
        TokenizerFile.load(path)


def test_sentencepiece_models_that_are_none(tmp_path):
    pytest.importorskip("sentencepiece")
    with pytest.raises(InvalidArgumentError, match="no such file"):
        SentencePieces.load(tmp_path / "missing.model")
    (tmp_path / "other.model").write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match="does not accept"):
        SentencePieces.load(tmp_path / "other.model")


@pytest.mark.parametrize(
    ("load", "library"), [(SentencePieces.load, "sentencepiece"), (TokenizerFile.load, "tokenizers")]
)
def test_a_missing_library_is_one_clear_error(load, library, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(InvalidArgumentError, match=rf"{library}.*pip install.*pytest-labelleak\[asr\]"):
        load("anything")
