"""What a spiking model is: its neurons."""
