"""Runtime overrides for lingvo, kept apart from the plugin. Empty in this release."""
