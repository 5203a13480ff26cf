"""The HTTP API and its page: a client of the queue, as the bot is. Imports neither torch nor aiogram."""

from typing import Final

VERSION: Final = "0.1.0"
