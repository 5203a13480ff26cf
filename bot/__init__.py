"""The Telegram side. Nothing here imports torch, or anything that does."""
