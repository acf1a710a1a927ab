"""The operations: plain functions of the state, one module per concern.

An operation reads and writes typed tables, uses the clock and the ids that it is given, and records events, wake-ups
and stop signals to follow the commit. It performs no I/O of its own, so it composes with others inside one transaction
and may be run again when the database asks for it.
"""
