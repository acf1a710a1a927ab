"""The swarm's engine: it runs transactions, waits for hints, dispatches attempts and recovers after a crash.

`Engine` builds the parts and owns them. A part has the calls of one concern (`tasks`, `workers`, `questions`, …): each
runs one operation of `app.engine.ops`, a plain function of the state, through `transactions`. What takes time belongs
to the parts that run in the background, `dispatcher`, `timers`, `recovery`, `deliveries` and `couriers`, which start
and stop with the engine.
"""
