"""Whisper tiny.en in Keras: a trained speech recogniser, and clips of speech with their transcripts."""
