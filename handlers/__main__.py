"""Prints the table of commands: `python -m handlers`."""

from handlers import create_routers
from handlers.command_table import lines

if __name__ == "__main__":
    print("\n".join(lines(create_routers())))
