"""A spawner and a layer of one's own."""
