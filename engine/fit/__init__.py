"""From measured pulses to a device: data files are read, step models are fitted and ranked."""
