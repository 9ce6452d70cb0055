"""From the records of a session's audits to reports in every format.

Reading order::

    rows         one dictionary, and its rows as text
    terminal     the table at the end of a session
    json_report  JSON, and its schema
    markdown     Markdown
    html         HTML
"""
