"""Benchmarks. Each prints its result next to a comparable baseline that ran on the same machine at the same time."""
