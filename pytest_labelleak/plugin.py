"""pytest wiring (being written)."""
