"""A speech recogniser built with lingvo, and what its training updates tell about the words that were spoken."""
