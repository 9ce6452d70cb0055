"""Speech recognition: vocabularies, words and transcripts. Empty in this release."""
