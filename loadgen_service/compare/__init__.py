"""Several runs against each other: what may be compared, what differs, and how sure that is."""
