"""A whole swarm at work: what `swarmhold demo` starts, lets do real work, kills half-way, and checks."""
