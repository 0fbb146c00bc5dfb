"""Verdict of a series: LoadGen's conditions and our findings.

In: facts and figures. Out: VALID or INVALID with reasons.
May import: core's own modules; stays pure.
"""
