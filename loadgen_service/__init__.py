"""loadgen: MLPerf LoadGen's measurement, over a network. Importing this package does nothing."""

__version__ = "0.1.0"
