"""From a model and its batches to an Audit."""
