"""A speech recogniser built with lingvo, and attacks on its training updates that name the spoken words."""
