"""Mutants: the package with one rule broken, which some test must notice.

Reading order::

    pattern   code as a pattern: finding and replacing one place of a syntax tree
    named     the rules that make the gate trustworthy, and how each is broken
    generic   mutants of any module, by kinds of nodes
    running   a copy of the project, one mutant at a time, and its tests

Run ``make mutants``, or ``python -m tests.mutants --help``. Not collected by pytest: it runs pytest.
"""
