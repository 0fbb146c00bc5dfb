"""Pages of results: a run, a sweep, a mixed run.

In: summaries and records. Out: one self-contained HTML text a page.
May import: report's own modules, core and errors.
"""
