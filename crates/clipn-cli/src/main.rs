//! The program `clipn`.
fn main() {}
