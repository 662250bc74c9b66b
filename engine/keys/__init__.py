"""API keys: minting, recognising and managing them."""
