//! Residual attention blocks over a chunk of sequences, concatenated without padding: the inference
//! pass, the forward pass that records a tape, and the backward pass over the tapes of all chunks.

mod attention;
mod backward;
mod chunk;
mod forward;
mod tape;
mod weights;

pub(super) use forward::{Scratch, Sequence, Transformer};
pub(super) use tape::ChunkTape;
pub(super) use weights::{
    PackedBlock, PackedLinear, UnpackedWeights, pack_blocks, quantize_blocks,
};
