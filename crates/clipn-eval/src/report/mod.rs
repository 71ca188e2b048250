//! An evaluation as one HTML page to read and to hand on: the table, score histograms and ROC curves of every set, how
//! the threshold and the confidences are calibrated, and the most telling pictures with what was decided on them. The page holds all it needs: no script, no outside resource.

mod base64;
mod calibration;
mod charts;
mod error;
mod examples;
mod figure;
mod gallery;
mod html;
mod operating;
mod page;
mod reliability;
mod results_table;
mod runs;
mod sections;
mod summary;
mod svg;
mod thumbnail;

pub use error::ReportError;
pub use figure::write_histograms;
pub use page::{ReportOptions, render_html, render_record_html, write_html, write_record_html};
