"""A stream of bytes that arrives in chunks of any size and leaves in exact frames."""

from __future__ import annotations

from collections import deque


class Framer:
    """First in, first out, byte by byte: half a sample at a chunk's end stays and waits for its other half.

    Never pads and never drops; the caller of ``push`` keeps the bound (``len`` is in bytes). A push keeps a reference
    and copies nothing. The cost of a pull does not depend on how much is waiting.
    """

    __slots__ = ("_chunks", "_offset", "_size")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # bytes of the first chunk that were pulled already
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, chunk: bytes) -> None:
        """Add at the end."""
        if chunk:
            self._chunks.append(chunk)
            self._size += len(chunk)

    def push_back(self, chunk: bytes) -> None:
        """Undo a pull: the next pull begins with ``chunk``."""
        rest = self.pull(len(self._chunks[0]) - self._offset) if self._offset else b""
        self._chunks.extendleft(part for part in (rest, chunk) if part)
        self._size += len(rest) + len(chunk)

    def pull(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or none when fewer are waiting."""
        if not 0 < size <= self._size:
            return b""
        head = self._chunks[0]
        start = self._offset
        end = start + size
        if end >= len(head):
            return self._pull_across(size)
        self._offset = end
        self._size -= size
        return head[start:end]

    def clear(self) -> None:
        """Forget all waiting bytes, half a sample included."""
        self._chunks.clear()
        self._offset = self._size = 0

    def _pull_across(self, size: int) -> bytes:
        self._size -= size
        parts: list[bytes] = []
        while size:
            head = self._chunks[0]
            part = head[self._offset : self._offset + size]
            parts.append(part)
            size -= len(part)
            self._offset += len(part)
            if self._offset == len(head):
                self._chunks.popleft()
                self._offset = 0
        return b"".join(parts)
