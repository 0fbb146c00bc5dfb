"""The LoadGen service: it plans with workers, collects their records and gives the verdict."""
