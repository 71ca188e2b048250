//! Zero-shot classification that knows when to say no.
pub mod checkpoint;
pub mod classifier;
pub mod dataset;
pub mod demo;
pub mod engine;
pub mod evaluation;
pub mod image;
pub mod metrics;
pub mod model;
pub mod progress;
pub mod prompts;
pub mod report;
pub mod scores;
pub mod simd;
pub mod tokenizer;
pub mod training;
pub mod training_log;
