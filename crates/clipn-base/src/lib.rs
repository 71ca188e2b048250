pub mod ordered;
pub mod progress;
pub mod random;
pub mod simd;
