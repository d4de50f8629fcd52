"""Lets ``python -m fluofocus`` be the command line."""

from fluofocus.cli import main

main()
