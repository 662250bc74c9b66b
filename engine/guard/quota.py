"""A quota: at most so much of something for each subject, within any stretch of time or at once.

Every look and every use costs the same, however much was used before. Nothing waits between a look and the use that
follows it, so a quota holds exactly however many ask together.
"""

from __future__ import annotations

import math
from collections import deque


class Use:
    """What one call took of a quota."""

    __slots__ = ("_amount", "_quota", "_subject", "at_s")

    def __init__(self, quota: Quota, subject: str, amount: int, at_s: float) -> None:
        self._quota: Quota | None = quota
        self._subject = subject
        self._amount = amount
        self.at_s = at_s

    @property
    def counts(self) -> bool:
        """Whether its end would make room."""
        return self._amount > 0

    def settle(self, amount: int) -> None:
        """It was ``amount`` after all. Nothing happens when it no longer counts."""
        if self._quota is not None:
            self._quota.change(self._subject, amount - self._amount)
            self._amount = amount

    def expire(self) -> None:
        """It counts no longer."""
        self.settle(0)
        self._quota = None


class Quota:
    """At most ``limit`` for each subject in any ``period_s`` seconds.

    When that is infinite: at once, each use being settled with 0 at its end.
    """

    def __init__(self, limit: int, period_s: float = math.inf) -> None:
        self.limit = limit
        self.period_s = period_s
        self._used: dict[str, int] = {}
        self._uses: dict[str, deque[Use]] = {}
        """Oldest first, and the subject with the newest last."""

    def left(self, subject: str, now_s: float) -> int:
        """How much the subject may use."""
        if uses := self._uses.get(subject):
            while uses and (uses[0].at_s <= now_s - self.period_s or not uses[0].counts):
                uses.popleft().expire()
        return self.limit - self._used.get(subject, 0)

    def free_in_s(self, subject: str, now_s: float) -> float | None:
        """When the oldest use ends to count, as of the last look at what is left; None where none does by itself."""
        uses = self._uses.get(subject)
        return uses[0].at_s + self.period_s - now_s if uses else None

    def use(self, subject: str, amount: int, at_s: float) -> Use:
        """Use ``amount``. Times must not go back."""
        use = Use(self, subject, amount, at_s)
        self.change(subject, amount)
        if self.period_s != math.inf:
            self._uses[subject] = self._uses.pop(subject, deque())  # now the last
            self._uses[subject].append(use)
            self._forget(at_s)
        return use

    def change(self, subject: str, by: int) -> None:
        """Correct what the subject has used."""
        self._used[subject] = used = self._used.get(subject, 0) + by
        if not used:
            del self._used[subject]

    def _forget(self, now_s: float) -> None:
        """Drop the subjects that have not used anything for a period."""
        while not (uses := self._uses[subject := next(iter(self._uses))]) or uses[-1].at_s <= now_s - self.period_s:
            del self._uses[subject]
            for use in uses:
                use.expire()
