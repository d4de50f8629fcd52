"""Training pairs: streamed from the simulator or read from measured stacks."""
