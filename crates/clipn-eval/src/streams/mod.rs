//! Evaluation of scores that learn from the stream of images.
//!
//! The images of the in-distribution set and those of one out-of-distribution set are shuffled into one
//! stream, which is scored in batches; the memory is cleared before each set. What is learned depends on
//! the order and on the part of the stream that is out-of-distribution, so results are means over several
//! orders, each with its mixture, beside the same score without memory.

mod evaluate;
mod order;
mod record;
mod settings;
mod table;

pub use evaluate::{StreamEvaluator, StreamRow, StreamRun, write_stream_scores};
pub use record::{StreamMetrics, StreamRecord, StreamResult};
pub use settings::StreamSettings;
