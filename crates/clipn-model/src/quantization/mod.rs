//! Weights in 8-bit integers, and what is done to a block before they are quantized.

mod balance;
mod weight;

pub use weight::QuantizedWeight;
