//! Smoothing over the borders of blocks in progressive images that end early (T.81 K.8).
//!
//! Where a progressive image ends before the first AC coefficients have all their bits, its blocks
//! show as squares. libjpeg-turbo estimates those that are still zero from the DC coefficients of
//! the 25 blocks around: it extends the nine blocks of T.81 K.8 to 25, and has other weights, which
//! also smooth the DC coefficient, where no AC coefficient is known at all. The pixels are those of
//! its decoders, which Pillow, OpenCV and torchvision use.
use super::component::Component;

/// Number of coefficients in zig-zag order that are estimated, with the DC coefficient.
pub(super) const ESTIMATED: usize = 10;

/// Value of [`Component::missing_bits`] for coefficients that no scan contained.
const UNKNOWN: u8 = u8::MAX;

/// Weights of the DC coefficients of the blocks around a block, by row and column. Their unit is
/// 1/256 of the quantized coefficient.
type Window = [[i64; 5]; 5];

/// Estimate of a coefficient from DC coefficients.
struct Estimate {
    /// Index in zig-zag order.
    index: usize,
    /// Position in row order.
    position: usize,
    weights: Window,
}

const fn estimate(index: usize, position: usize, weights: Window) -> Estimate {
    Estimate {
        index,
        position,
        weights,
    }
}

/// Exchanges rows and columns, for the coefficient of the other direction.
const fn transposed(weights: Window) -> Window {
    let mut out = [[0; 5]; 5];
    let mut index = 0;
    while index < 25 {
        out[index / 5][index % 5] = weights[index % 5][index / 5];
        index += 1;
    }
    out
}

#[rustfmt::skip]
mod weights {
    use super::Window;

    /// Horizontal gradient, where other AC coefficients are known.
    pub(super) const GRADIENT: Window = [
        [0; 5],
        [0; 5],
        [-7, 50, 0, -50, 7],
        [0; 5],
        [0; 5],
    ];
    /// Horizontal curvature, where other AC coefficients are known.
    pub(super) const CURVATURE: Window = [
        [0; 5],
        [0; 5],
        [-1, 13, -24, 13, -1],
        [0; 5],
        [0; 5],
    ];
    /// Diagonal, where other AC coefficients are known.
    pub(super) const DIAGONAL: Window = [
        [ 0, -1, 0,   1,  0],
        [-1, 10, 0, -10,  1],
        [0; 5],
        [ 1, -10, 0, 10, -1],
        [ 0,  1, 0,  -1,  0],
    ];
    /// The DC coefficient itself, where only DC coefficients are known. These weights have a sum of
    /// 256.
    pub(super) const DC: Window = [
        [-2, -6,  -8, -6, -2],
        [-6,  6,  42,  6, -6],
        [-8, 42, 152, 42, -8],
        [-6,  6,  42,  6, -6],
        [-2, -6,  -8, -6, -2],
    ];
    /// Horizontal gradient, where only DC coefficients are known.
    pub(super) const DC_GRADIENT: Window = [
        [-1, -1, 0,   1, 1],
        [-3, 13, 0, -13, 3],
        [-3, 38, 0, -38, 3],
        [-3, 13, 0, -13, 3],
        [-1, -1, 0,   1, 1],
    ];
    /// Horizontal curvature, where only DC coefficients are known.
    pub(super) const DC_CURVATURE: Window = [
        [0; 5],
        [0, 2,  -5, 2, 0],
        [1, 7, -14, 7, 1],
        [0, 2,  -5, 2, 0],
        [0; 5],
    ];
    /// Diagonal, where only DC coefficients are known.
    pub(super) const DC_DIAGONAL: Window = [
        [-1, 0, 0,  0,  1],
        [ 0, 9, 0, -9,  0],
        [0; 5],
        [ 0, -9, 0, 9,  0],
        [ 1, 0, 0,  0, -1],
    ];
    /// Third horizontal frequency, where only DC coefficients are known.
    pub(super) const DC_THIRD: Window = [
        [0; 5],
        [0, 1, 0, -1, 0],
        [0, 2, 0, -2, 0],
        [0, 1, 0, -1, 0],
        [0; 5],
    ];
    /// Second horizontal and first vertical frequency, where only DC coefficients are known.
    pub(super) const DC_MIXED: Window = [
        [0; 5],
        [0,  1, -3,  1, 0],
        [0; 5],
        [0, -1,  3, -1, 0],
        [0; 5],
    ];
}

/// Estimates where some AC coefficients are known.
static WITH_AC: [Estimate; 5] = [
    estimate(1, 1, weights::GRADIENT),
    estimate(2, 8, transposed(weights::GRADIENT)),
    estimate(3, 16, transposed(weights::CURVATURE)),
    estimate(4, 9, weights::DIAGONAL),
    estimate(5, 2, weights::CURVATURE),
];

/// Estimates where only DC coefficients are known.
static WITHOUT_AC: [Estimate; 9] = [
    estimate(1, 1, weights::DC_GRADIENT),
    estimate(2, 8, transposed(weights::DC_GRADIENT)),
    estimate(3, 16, transposed(weights::DC_CURVATURE)),
    estimate(4, 9, weights::DC_DIAGONAL),
    estimate(5, 2, weights::DC_CURVATURE),
    estimate(6, 3, weights::DC_THIRD),
    estimate(7, 10, weights::DC_MIXED),
    estimate(8, 17, transposed(weights::DC_MIXED)),
    estimate(9, 24, transposed(weights::DC_THIRD)),
];

/// What the scans contained.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScanProgress {
    /// Number of scans.
    pub(super) scans: usize,
    /// Last MCU row for which the last scan had data. Below it, the bits before that scan count.
    pub(super) last_mcu_row: usize,
}

/// Smooths the components of a progressive image, in place, if one of the coefficients that can be
/// estimated is not known to its last bit.
///
/// As in libjpeg, nothing is smoothed if a DC coefficient is missing or a divisor would be 0.
pub(super) fn smooth(components: &mut [Component], progress: ScanProgress) {
    let positions = || WITHOUT_AC.iter().map(|estimate| estimate.position);
    let has_divisors = |component: &Component| {
        let divisor = |position| {
            component
                .saved_quantization_table
                .map(|table| table[position])
        };
        std::iter::once(0)
            .chain(positions())
            .all(|position| divisor(position).is_some_and(|divisor| divisor != 0))
    };
    let is_possible = components
        .iter()
        .all(|component| has_divisors(component) && component.missing_bits[0] != UNKNOWN);
    let is_useful = components.iter().any(|component| {
        component.missing_bits[1..ESTIMATED]
            .iter()
            .any(|bits| *bits != 0)
    });
    if is_possible && is_useful {
        components
            .iter_mut()
            .for_each(|component| smooth_component(component, progress));
    }
}

fn smooth_component(component: &mut Component, progress: ScanProgress) {
    let Some(quantization) = component.saved_quantization_table else {
        return;
    };
    let columns = component.padded_blocks_per_row;
    let factor = component.sampling_factors.vertical;
    let dc: Vec<i16> = component
        .coefficients
        .iter()
        .map(|block| block[0])
        .collect();
    let (width, height) = component.size_in_blocks;
    let mcu_rows = component.coefficients.len() / columns / factor;
    let last_precision = match progress.scans {
        1 => [UNKNOWN; ESTIMATED],
        _ => component.missing_bits_before,
    };
    for row in 0..height {
        let missing_bits = match row / factor > progress.last_mcu_row {
            true => &last_precision[..],
            false => &component.missing_bits[..ESTIMATED],
        };
        let rows = neighbor_rows(row, height, factor, mcu_rows)
            .map(|row| &dc[row * columns..(row + 1) * columns]);
        let blocks = &mut component.coefficients[row * columns..][..width];
        for (column, block) in blocks.iter_mut().enumerate() {
            let neighbors = rows.map(|row| {
                std::array::from_fn(|index| {
                    row[(column + index).saturating_sub(2).min(width - 1)].into()
                })
            });
            estimate_block(block, &neighbors, missing_bits, &quantization);
        }
    }
}

/// Returns the block rows from two above to two below `row`, none of them beyond the image.
///
/// Rows are counted as libjpeg does it. In the last MCU row, which may have fewer block rows than
/// the others, it takes all of them to have as few, which matters in images of two MCU rows.
fn neighbor_rows(row: usize, height: usize, factor: usize, mcu_rows: usize) -> [usize; 5] {
    let (mcu_row, offset) = (row / factor, row % factor);
    let block_rows = match height % factor {
        rows if rows != 0 && mcu_row + 1 == mcu_rows => rows,
        _ => factor,
    };
    let (counted, count) = (mcu_row * block_rows + offset, mcu_rows * block_rows);
    let (above, below) = (counted.min(2), (count - 1 - counted).min(2));
    [
        row - above,
        row - above.min(1),
        row,
        row + below.min(1),
        row + below,
    ]
}

/// Estimates the coefficients of a block that are zero and not known to the last bit. `neighbors`
/// has the DC coefficients of the 25 blocks around, `missing_bits` is in zig-zag order.
fn estimate_block(
    block: &mut [i16; 64],
    neighbors: &Window,
    missing_bits: &[u8],
    quantization: &[u16; 64],
) {
    let is_dc_only = missing_bits[1..].iter().all(|bits| *bits == UNKNOWN);
    let estimates = match is_dc_only {
        true => &WITHOUT_AC[..],
        false => &WITH_AC,
    };
    let sum = |weights: &Window| -> i64 {
        let products = weights.iter().flatten().zip(neighbors.iter().flatten());
        let sum: i64 = products.map(|(weight, dc)| weight * dc).sum();
        sum * i64::from(quantization[0])
    };
    for estimate in estimates {
        let (bits, value) = (missing_bits[estimate.index], &mut block[estimate.position]);
        if bits != 0 && *value == 0 {
            let divisor = quantization[estimate.position];
            *value = divide(sum(&estimate.weights), divisor, bits);
        }
    }
    if is_dc_only {
        block[0] = divide(sum(&weights::DC), quantization[0], UNKNOWN);
    }
}

/// Divides `sum`, in 1/256, by `divisor`, rounding halves away from zero. With known higher bits, the
/// magnitude stays below them.
fn divide(sum: i64, divisor: u16, missing_bits: u8) -> i16 {
    let divisor = i64::from(divisor);
    let mut magnitude = ((divisor << 7) + sum.abs()) / (divisor << 8);
    if missing_bits != UNKNOWN {
        magnitude = magnitude.min((1 << missing_bits) - 1);
    }
    (if sum < 0 { -magnitude } else { magnitude }) as i16
}
