"""Where workers come from: processes on this host now, other fleets later."""
