//! Evaluation report as one self-contained HTML page: the table of results, score histograms and
//! ROC curves of every set, the calibration of threshold and confidence, and example images with
//! their decisions.
//!
//! The page has no scripts and loads no external resources.

mod calibration;
mod charts;
mod decisions;
mod error;
mod gallery;
mod histograms;
mod html;
mod jpeg;
mod maps;
mod operating;
mod options;
mod page;
mod reliability;
mod results_table;
mod runs;
mod sections;
mod streams;
mod summary;
mod svg;
mod thumbnail;

pub use error::ReportError;
pub use histograms::write_histograms;
pub use options::ReportOptions;
pub use page::{example_images, render_html, render_record_html, write_html, write_record_html};
