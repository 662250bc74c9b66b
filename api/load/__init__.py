"""The load kit: drives an engine over HTTP, plays both its far ends, and measures there."""
