use super::conv::{Beside, Conv, average};
use super::grid::Size;
use clipn_model::BottleneckParams;

/// A bottleneck with its norms folded in.
#[derive(Debug, Clone)]
pub(super) struct Bottleneck {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    downsample: Option<Conv>,
}

/// Buffers that a thread reuses from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The maps that go into a block, and what comes out of it.
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    /// The maps of a chunk's images.
    pub maps: Vec<f32>,
    narrow: Vec<f32>,
    convolved: Vec<f32>,
    averaged: Vec<f32>,
    pub columns: Vec<f32>,
}

impl Bottleneck {
    pub fn new(params: &BottleneckParams<f32>) -> Self {
        Self {
            conv1: Conv::new(&params.conv1),
            conv2: Conv::new(&params.conv2),
            conv3: Conv::new(&params.conv3),
            downsample: params.downsample.as_ref().map(Conv::new),
        }
    }

    /// Replaces the maps `scratch.x`, `[images, size, channels]`, by what the block makes of them, and gives its size.
    pub fn run(&self, scratch: &mut Scratch, size: Size, halves: bool, threads: usize) -> Size {
        let Scratch {
            x,
            y,
            narrow,
            convolved,
            averaged,
            columns,
            ..
        } = scratch;
        self.conv1.pointwise(narrow, x, Beside::Nothing, threads);
        self.conv2
            .neighbours(convolved, narrow, size, 1, columns, threads);
        let to = if halves {
            average(averaged, x, size, self.conv1.inner());
            std::mem::swap(x, averaged);
            average(narrow, convolved, size, self.conv2.out());
            std::mem::swap(narrow, convolved);
            size.halved()
        } else {
            size
        };
        let beside = match &self.downsample {
            Some(conv) => Beside::Conv(conv, x),
            None => Beside::Map(x),
        };
        self.conv3.pointwise(y, convolved, beside, threads);
        std::mem::swap(x, y);
        to
    }
}

/// Runs the blocks of a stage, of which the first halves the maps where `halves` says so.
pub(super) fn run_stage(
    blocks: &[Bottleneck],
    scratch: &mut Scratch,
    mut size: Size,
    halves: bool,
    threads: usize,
) -> Size {
    for (index, block) in blocks.iter().enumerate() {
        size = block.run(scratch, size, halves && index == 0, threads);
    }
    size
}
