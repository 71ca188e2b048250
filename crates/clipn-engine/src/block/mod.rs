//! The residual attention blocks over a chunk of sequences that stand one after the other without padding: the forward
//! pass, the forward pass that keeps a tape, and the backward pass over the tapes of all chunks.

mod attention;
mod backward;
mod chunk;
mod forward;
mod tape;
mod weights;

pub(super) use forward::{Scratch, Sequence, Transformer};
pub(super) use tape::ChunkTape;
pub(super) use weights::{BlockPanels, Originals, lay_out_blocks};
