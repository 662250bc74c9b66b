"""A simulated Ultravox: as strict as the documentation, with a script for the model, and with faults on request."""

from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.knobs import CallKnobs, CreateReply, Knobs, Mischief
from engine.sandbox.ultravox.simulator import SimulatedUltravox

__all__ = ["CallKnobs", "Conversation", "CreateReply", "Knobs", "Mischief", "SimulatedUltravox"]
