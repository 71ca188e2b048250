use clipn_model::BottleneckParams;

use super::conv::{Conv, Shortcut, average_pool};
use super::grid::MapSize;

/// A bottleneck block with its batch norms folded into the convolutions.
#[derive(Debug, Clone)]
pub(super) struct Bottleneck {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    downsample: Option<Conv>,
}

/// Per-thread buffers, reused from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Input of a block; after the block has run, its output.
    pub x: Vec<f32>,
    /// Output of a block while it runs.
    pub y: Vec<f32>,
    /// Feature maps of all images of a chunk.
    pub maps: Vec<f32>,
    narrow: Vec<f32>,
    convolved: Vec<f32>,
    averaged: Vec<f32>,
    /// Gathered neighborhoods of a 3×3 convolution.
    pub columns: Vec<f32>,
}

impl Bottleneck {
    pub(crate) fn new(params: &BottleneckParams<f32>) -> Self {
        Self {
            conv1: Conv::new(&params.conv1),
            conv2: Conv::new(&params.conv2),
            conv3: Conv::new(&params.conv3),
            downsample: params.downsample.as_ref().map(Conv::new),
        }
    }

    /// Replaces `scratch.x`, `[images, size, channels]`, with the output of the block, and returns
    /// the size of the output. If `halves`, the block average-pools by 2.
    pub(crate) fn run(
        &self,
        scratch: &mut Scratch,
        size: MapSize,
        halves: bool,
        threads: usize,
    ) -> MapSize {
        let Scratch {
            x,
            y,
            narrow,
            convolved,
            averaged,
            columns,
            ..
        } = scratch;
        self.conv1.conv1x1(narrow, x, Shortcut::None, threads);
        self.conv2
            .conv3x3(convolved, narrow, size, 1, columns, threads);
        let to = if halves {
            average_pool(averaged, x, size, self.conv1.inner());
            std::mem::swap(x, averaged);
            average_pool(narrow, convolved, size, self.conv2.out());
            std::mem::swap(narrow, convolved);
            size.halved()
        } else {
            size
        };
        let shortcut = match &self.downsample {
            Some(conv) => Shortcut::Projection(conv, x),
            None => Shortcut::Identity(x),
        };
        self.conv3.conv1x1(y, convolved, shortcut, threads);
        std::mem::swap(x, y);
        to
    }
}

/// Runs the blocks of a stage and returns the size of its output. If `halves`, the first block
/// average-pools by 2.
pub(super) fn run_stage(
    blocks: &[Bottleneck],
    scratch: &mut Scratch,
    mut size: MapSize,
    halves: bool,
    threads: usize,
) -> MapSize {
    for (index, block) in blocks.iter().enumerate() {
        size = block.run(scratch, size, halves && index == 0, threads);
    }
    size
}
