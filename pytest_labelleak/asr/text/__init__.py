"""Labels as text: vocabularies, and the words that tokens form.

Reading order::

    vocabulary  pieces of words, and characters
    subwords    sentencepiece and tokenizers files
    loading     a vocabulary from a path
    spoken      the words of a transcript
    words       words that a bag of tokens forms
"""
