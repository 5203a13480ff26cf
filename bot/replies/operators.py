"""The words of /stats."""

from __future__ import annotations
