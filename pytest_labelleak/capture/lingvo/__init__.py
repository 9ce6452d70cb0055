"""Capture from lingvo tasks.

Reading order::

    batch     a batch as lingvo takes it, and the targets in it
    head      the softmax of a task's decoder
    settings  learner, penalties and smoothing of a task
    state     the task's state, put back bit for bit
    step      one training step or several, eager or in a session
    adapter   the adapter for lingvo tasks
"""
