"""Pure decisions and measures: no clock, loop, socket, file or log in here."""
