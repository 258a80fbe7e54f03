"""How much memory the tensors take that a tracker remembers."""


def stored_bytes(outputs):
    """Return the bytes of the tensors in nested dicts and lists, shared ones once."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    assert tensors
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def stored_bytes_of_states(states):
    """Return the bytes of the outputs in states of Meta's tracker, shared ones once."""
    return stored_bytes([[one["output_dict"], one["output_dict_per_obj"]] for one in states])
