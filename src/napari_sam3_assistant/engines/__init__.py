"""The engines that turn prompts into masks, behind one interface (``base``).

The only package that may import torch, transformers or sam3, and only inside functions.
"""
