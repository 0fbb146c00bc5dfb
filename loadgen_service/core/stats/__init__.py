"""Statistics: percentiles, histograms, early stopping, bootstrap.

In: integers. Out: figures with their rule's source.
May import: numpy only.
"""
