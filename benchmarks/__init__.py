"""Programs that measure. Each prints its number next to something comparable that ran beside it on the same machine."""
