"""Rigs: for each spawner, how a test gets a real worker of it, makes it end in every way, and sees what is alive.

`stage` is a server in a process of its own with everything around it that lives elsewhere: a backend, an HTTP worker,
queue workers, a senior. `table.RIGS` names the rigs.
"""
