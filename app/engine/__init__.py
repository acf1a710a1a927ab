"""The swarm's engine: it opens transactions, waits for what they make happen, starts agents and recovers what a dead
node left behind.

The `Engine` is thin: each of its methods runs one operation of `app.engine.ops` in a transaction and acts on what
the operation recorded for after the commit. Everything that takes time, dispatch, waiting, recovery, is owned and
stopped with it.
"""
