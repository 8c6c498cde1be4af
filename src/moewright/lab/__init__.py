"""The lab: small real training runs of any architecture that moewright can describe. Needs the extra `lab` (torch)."""
