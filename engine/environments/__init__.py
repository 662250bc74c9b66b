"""What an environment dials with: its workers, trunks and agent service. The live one is here."""
