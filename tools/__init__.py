"""What helps to develop the gateway and is not part of it: nothing here is in the wheel."""
