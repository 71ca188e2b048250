//! Caption tables: CSV or TSV files with a row for each pair of an image file and a caption.
mod table;

pub use table::{CaptionTable, TableFormat};
