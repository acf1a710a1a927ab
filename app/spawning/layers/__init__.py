"""Layers, one behaviour per module, each wrapping any spawner and being a spawner itself."""
