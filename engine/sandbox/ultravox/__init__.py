"""A simulated Ultravox: strict where the documentation is, scripted where the model would be, faulty where asked."""

from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.knobs import CallKnobs, CreateReply, Knobs, Mischief
from engine.sandbox.ultravox.simulator import SimulatedUltravox

__all__ = ["CallKnobs", "Conversation", "CreateReply", "Knobs", "Mischief", "SimulatedUltravox"]
