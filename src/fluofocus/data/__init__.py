"""Training pairs: streamed from the simulator or drawn from prepared scans."""
