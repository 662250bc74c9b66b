"""What runs in a worker and in the registrar process: everything here may touch PJSIP, and nothing of the store."""
