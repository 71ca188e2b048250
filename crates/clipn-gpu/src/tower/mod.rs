//! The towers, written once over any [`Device`](crate::Device).

mod blocks;
mod graph;
mod head;
mod image;
mod parameters;
mod pool;
mod text;
mod training;
mod vision;
mod words;

pub use training::{AdamWStep, DeviceTape, ParameterState};
pub use vision::DeviceImageTower;
pub use words::DeviceTextTower;
