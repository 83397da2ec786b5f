"""``python -m rechub_cli`` is the ``rechub`` command."""

from rechub_cli.cli.app import main

main()
