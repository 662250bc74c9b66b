"""The jitter buffer's discard algorithm is an enum that builds of the binding wrap differently."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pjsua2 as pj

from engine.pjsip.stack import keep_late_frames

PROGRESSIVE = 2
"""PJMEDIA_JB_DISCARD_PROGRESSIVE, the default of every build."""


def test_a_build_that_wraps_it_as_an_int_is_given_an_int() -> None:
    media = SimpleNamespace(jbDiscardAlgo=PROGRESSIVE)
    keep_late_frames(cast(pj.MediaConfig, media))
    assert media.jbDiscardAlgo == 0


def test_the_stock_build_that_wraps_it_as_a_pointer_takes_it_too() -> None:
    keep_late_frames(pj.EpConfig().medConfig)
