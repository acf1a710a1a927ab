"""The durable truth: the typed tables of one transaction, the port that opens it, and its two stores, SQLite (embedded)
and PostgreSQL.

Operations receive a `State` and read or write its tables; they never see a connection, a dialect or a commit. Schema,
compiled statements, migrations and retention live here too.
"""
