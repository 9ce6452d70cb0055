"""The pytest plugin.

Reading order::

    baseline       recorded figures that a test may not exceed
    options        command line and ini file
    marker         the marker `labelleak`
    redaction      failures and messages without private values and sensitive terms
    side_channels  private values kept out of debug files, warnings and interrupts
    report         from records of audits to every format
    running_test   one test: its settings, its audits, its privacy
    fixture        the fixture `labelleak`
    session        the whole session: reports, baseline, exit code
    hookspecs      hooks that others may implement
    hooks          pytest's hooks: the entry point
"""
