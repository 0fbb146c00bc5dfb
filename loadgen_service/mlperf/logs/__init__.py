"""LoadGen's log files, line for line.

In: summaries and records. Out: mlperf_log_summary, _detail, _accuracy and _trace.
May import: mlperf's own modules, core and errors.
"""
