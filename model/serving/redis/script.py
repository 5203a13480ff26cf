"""The script that both sides of the queue in Redis call, and what an outcome is as bytes. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from model.errors import CaptionError, error_of
from model.serving.codec import pack, unpack
from model.serving.jobs import JobFailure, Outcome, decode_outcome, encode_outcome
from model.serving.redis.connection import LuaScript, connect, connect_carrying, connect_joined, patiently
from model.serving.tasks import LINES

PREFIX: Final = "{captions}"
BLOCK_SECONDS: Final = 2.0  # also how often an idle worker looks for jobs of dead ones
LISTEN_SECONDS: Final = 15.0  # as BLOCK_SECONDS, with what is as large as `along` in `queue.lua`
CARRY_SECONDS: Final = 60.0  # for what carries media or results, over a slow line too
_SOURCE: Final = (Path(__file__).parent / "queue.lua").read_text(encoding="utf-8")


class Script:
    """Calls of `queue.lua`."""

    def __init__(self, url: str, prefix: str, lines: Sequence[str] = LINES) -> None:
        """`lines`: those that the caller deals with."""
        self.prefix = prefix
        self._lines = ",".join(lines)
        self.client: Any = connect_joined(url)
        self.blocking: Any = connect(url, block_seconds=BLOCK_SECONDS)
        self.listening: Any = connect(url, block_seconds=LISTEN_SECONDS)
        self.carrying: Any = connect_carrying(url, block_seconds=CARRY_SECONDS)
        self._script = LuaScript(self.client, _SOURCE)

    async def connect(self) -> None:
        """Open the connection for what is large, so that the first such call need not."""
        await self.carry("states")

    async def call(self, *arguments: str | bytes | float) -> Any:
        return await self._run(self.client, arguments)

    async def carry(self, *arguments: str | bytes | float) -> Any:
        """As `call`, for what is large in either direction."""
        return await self._run(self.carrying, arguments)

    async def call_after(self, blocking: Sequence[str | int], *arguments: str | bytes | float) -> Any:
        """As `call`, once the command `blocking` has returned: both go there together, and one answer comes back."""
        what = ("EVALSHA", self._script.sha, 1, self.prefix, self._lines, *arguments)

        async def both() -> Any:
            from redis.exceptions import NoScriptError

            pipeline = self.listening.pipeline(transaction=False)
            pipeline.execute_command(*blocking)
            pipeline.execute_command(*what)
            _, answer = await pipeline.execute(raise_on_error=False)
            if isinstance(answer, NoScriptError):  # Redis was started anew: it learns the script
                return await self._run(self.carrying, arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await patiently(both)

    async def _run(self, client: Any, arguments: Sequence[str | bytes | float]) -> Any:
        return await patiently(lambda: self._script([self.prefix], [self._lines, *arguments], client))

    async def close(self) -> None:
        for client in (self.client, self.blocking, self.listening, self.carrying):
            await client.aclose()


def pack_outcome(outcome: Outcome | JobFailure) -> bytes:
    if isinstance(outcome, JobFailure):
        return pack({"failure": {"kind": outcome.kind, "message": outcome.message}})
    header, attachments = encode_outcome(outcome)
    return pack({"outcome": header}, attachments)


def unpack_outcome(frame: bytes) -> Outcome | CaptionError:
    header, attachments = unpack(frame)
    if "failure" in header:
        return error_of(str(header["failure"]["kind"]), str(header["failure"]["message"]))
    return decode_outcome(header["outcome"], attachments)
