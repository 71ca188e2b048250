pub mod calibration;
pub mod metrics;
pub mod scores;
