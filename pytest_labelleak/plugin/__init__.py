"""The pytest plugin.

Reading order::

    baseline      recorded figures that a test may not exceed
    options       command line and ini file
    marker        the marker `labelleak`
    hiding        sensitive terms taken out of text
    redaction     failures rendered without private values
    report        from records of audits to every format
    running_test  one test: its settings, its audits, its privacy
    fixture       the fixture `labelleak`
    session       the whole session: reports, baseline, exit code
    hookspecs     hooks that others may implement
    hooks         pytest's hooks: the entry point
"""
