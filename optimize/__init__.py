"""Make variants of a model: load, export, fuse, quantize, check parity. The only package that knows torch."""
