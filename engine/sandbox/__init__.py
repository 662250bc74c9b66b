"""The simulated far ends for sandbox keys, the demonstration and tests: a carrier with its callees, and an Ultravox."""
