"""A build whose structures differ is refused at start, with a sentence, never with a crash. Each in its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.sip

_START = """
import os
from engine.errors import SipError
from engine.messages.settings import StackSettings
from engine.pjsip import layout, rtp_sockets, structures
from engine.pjsip.library import pjlib
from engine.pjsip.stack import SipStack

{change}
try:
    SipStack(StackSettings(bind="127.0.0.1"), link=print)
    print("started")
except SipError as error:
    print(error)
os._exit(0)
"""
_SHIFTED = """
import ctypes
class Shifted(ctypes.Structure):
    _fields_ = (("before", ctypes.c_char * 8), *layout.{name}._fields_)
layout.{name} = Shifted
"""


def started(change: str) -> str:
    command = [sys.executable, "-c", _START.format(change=change)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout


def test_the_stock_build_is_as_expected() -> None:
    assert started("") == "started\n"


def test_every_instance_of_a_process_is_checked_and_started() -> None:
    change = """
from engine.pjsip import instances
instances.load(12)
for stack in instances._stacks:
    print(stack(StackSettings(bind="127.0.0.1"), link=print).lines)
os._exit(0)
"""
    assert started(change) == "4\n4\n4\n"


@pytest.mark.parametrize(
    ("change", "structure"),
    [
        pytest.param("layout.packet_limit = lambda: 3992", "pjsip_rx_data", id="another packet size"),
        pytest.param(_SHIFTED.format(name="Transport"), "pjsip_transport", id="another transport"),
        pytest.param(_SHIFTED.format(name="PrintedMessage"), "pjsip_tx_data", id="another sent message"),
        pytest.param(_SHIFTED.format(name="ReceivedPacket"), "pjsip_rx_data", id="another received message"),
        pytest.param(_SHIFTED.format(name="MediaTransport"), "pjmedia_transport", id="another media transport"),
        pytest.param(
            "import ctypes; (ctypes.c_int * 64).in_dll(pjlib, 'pjsip_sip_cfg_var')[5] = 7",
            "pjsip_cfg_t",
            id="other settings",
        ),
    ],
)
def test_another_layout_is_refused(change: str, structure: str) -> None:
    assert f"has another layout of {structure}" in started(change)
