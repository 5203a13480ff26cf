"""The queue between the bot and the worker, and the worker. Importing it loads torch only for `worker/`."""
