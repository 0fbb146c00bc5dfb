"""Figures of a series: latency, throughput, tokens, bursts, hops.

In: record columns. Out: figures with their units.
May import: core's own modules; stays pure.
"""
