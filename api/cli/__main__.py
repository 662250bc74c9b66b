"""``python -m api.cli`` is ``trunkline``."""

from api.cli import main

main()
