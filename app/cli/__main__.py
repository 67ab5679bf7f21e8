"""`python -m app.cli`: how commands start each other as processes."""

from app.cli import main

main()
