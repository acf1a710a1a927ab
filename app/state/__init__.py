"""Durable state: the typed tables of a transaction, the store port that opens transactions, and its implementations.

Operations receive a `State` and read or write its tables; they never see a connection, a dialect or a commit. What
belongs to one database alone is in `sqlite` or `postgres`; schema, compiled statements, migrations and retention are
shared.
"""
