"""Results of a run, written once from its stored records.

In: stored columns and facts. Out: summary, Parquet files, reports, LoadGen's logs.
May import: service's own modules, core, mlperf, report and errors.
"""
