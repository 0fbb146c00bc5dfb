"""Compliance tests TEST01, TEST04, TEST05 and TEST06.

In: logs of two runs. Out: the judgement and its files.
May import: mlperf's own modules, core and errors.
"""
