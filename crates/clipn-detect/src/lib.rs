pub mod bundle;
pub mod classifier;
pub mod detector;
pub mod inference;
