"""The queue between the bot and the worker, and the worker. Only `worker.py` imports torch."""
