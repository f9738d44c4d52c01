"""What brings the assistant onto a machine, and what it runs beside; no part of the wheel."""
