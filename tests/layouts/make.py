"""Writes the files of this folder with scipy, numpy and safetensors (pip install numpy scipy safetensors).

One matrix in every form: 12 queries, 16 keys, blocks of 4 x 4, block (1, 2) present but for its last pair."""

import pathlib

import numpy
import scipy.sparse
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent
blocks = numpy.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
mask = numpy.kron(blocks, numpy.ones((4, 4), dtype=bool))
mask[7, 11] = False

numpy.save(here / "dense.npy", numpy.asfortranarray(mask))
numpy.save(here / "additive.npy", numpy.where(mask, 0.0, -numpy.inf).astype(numpy.float16))
scipy.sparse.save_npz(here / "csr.npz", scipy.sparse.csr_matrix(mask))
scipy.sparse.save_npz(here / "bsr.npz", scipy.sparse.bsr_matrix(mask.astype(numpy.float32), blocksize=(4, 4)))
scipy.sparse.save_npz(here / "coo.npz", scipy.sparse.coo_matrix(mask))

# As torch's create_block_mask lays them out; the partial block's mask_mod is not in the tensors.
order = lambda row: numpy.argsort(~row, kind="stable")
partial = numpy.zeros_like(blocks)
partial[1, 2] = True
full = blocks & ~partial
tensors = {}
for prefix, of in (("", partial), ("full_", full)):
    tensors[prefix + "kv_num_blocks"] = of.sum(1).astype(numpy.int32)[None, None]
    tensors[prefix + "kv_indices"] = numpy.stack([order(row) for row in of]).astype(numpy.int32)[None, None]
save_file(tensors, here / "block_mask.safetensors")
