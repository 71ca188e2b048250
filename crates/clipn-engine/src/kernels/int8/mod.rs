//! Matrix products of 8-bit integers, for towers whose weights are quantized.
//!
//! A weight has one scale per output, an input one scale per row, computed from that row alone, so
//! that a result never depends on the other rows. Sums are exact integers: every kernel gives the
//! same bits as the plain form for the same quantized values.
//!
//! ```text
//! out[r, c] = (Σ_k q[r, k]·w[k, c]) · scale[r] · scale[c] + bias[c]
//! ```
//!
//! Most instruction sets multiply unsigned by signed bytes. Inputs are therefore stored with a zero
//! point z, as q + z, and the sums of a column start from −z·Σ_k w[k, c].

mod gemm;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod plain;
mod quantize;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use gemm::gemm_int8;
pub(crate) use kernel::Int8Kernel;
pub(crate) use pack::QuantizedB;
pub(crate) use quantize::QuantizedRows;

/// Values of depth that one instruction multiplies and adds.
const GROUP: usize = 4;
