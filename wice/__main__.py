"""``python -m wice`` is ``wice``."""

from wice.cli import main

main()
