//! Synthetic outliers: images that no caption of the training data describes.
mod drawing;
mod illustration;

use std::fmt;

use clipn_base::random::RandomSource;
use serde::{Deserialize, Serialize};

use self::drawing::{Canvas, random_shape};
use self::illustration::illustration;
use crate::augment::{CropBox, resized_crop};
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// A way to make an outlier for an image of the training data.
///
/// An outlier keeps colors or textures of its image, but nothing that a caption could name; or it is drawn from
/// scratch. A text tower that learns to say "no" to outliers says it to kinds of images that are not among
/// them too. The idea is that of outlier exposure (Hendrycks et al., 2019, <https://arxiv.org/abs/1812.04606>),
/// with outliers that need no data.
///
/// Two photographs blended, inverted colors or a small cut-out are no outliers: what they show can still be
/// named.
///
/// ```
/// use clipn_base::random::Xoshiro256;
/// use clipn_image::{OutlierMix, RgbImage};
///
/// let image = RgbImage::new(64, 64, (0..64 * 64 * 3).map(|i| (i % 251) as u8).collect())?;
/// let mut random = Xoshiro256::new(7);
/// let kind = OutlierMix::default().draw(&mut random);
/// let outlier = kind.apply(&image, &mut random)?;
/// assert_eq!((outlier.width(), outlier.height()), (64, 64));
/// # Ok::<(), clipn_image::ImageError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyntheticOutlier {
    /// The blocks of a grid of 4, 8 or 16 per side in random order.
    Shuffled,
    /// Noise around one color.
    Noise,
    /// Reduced to 3 to 8 pixels per side.
    Blurred,
    /// A part of a tenth to a fifth of the side, enlarged.
    Zoomed,
    /// A part of an eighth to a third of the side, repeated, mirrored or not.
    Tiled,
    /// Edges in white on black, or in black on white.
    Edges,
    /// Light and dark areas in two random colors.
    TwoTone,
    /// One to six random shapes in flat colors, on a plain background.
    Drawn,
    /// A figure in front of a ground, a pattern or a landscape, as in a children's book. Its image has no part
    /// in it.
    Illustration,
}

impl SyntheticOutlier {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Shuffled,
        Self::Noise,
        Self::Blurred,
        Self::Zoomed,
        Self::Tiled,
        Self::Edges,
        Self::TwoTone,
        Self::Drawn,
        Self::Illustration,
    ];

    /// Makes an outlier of this kind for an image `[H, W, 3]`, of the same size. The result depends only
    /// on the image and on the draws from `random`.
    ///
    /// # Errors
    /// [`ImageError::InvalidSetting`] if the image is not square, or its side is not in 1 to 4096.
    pub fn apply(
        self,
        image: &RgbImage,
        random: &mut impl RandomSource,
    ) -> Result<RgbImage, ImageError> {
        let side = image.width();
        if side != image.height() || side > MAX_SIDE {
            return Err(ImageError::InvalidSetting {
                setting: "image of an outlier",
                reason: format!(
                    "expected a square of at most {MAX_SIDE} pixels per side, got {side} × {}",
                    image.height()
                ),
            });
        }
        match self {
            Self::Shuffled => shuffled(image, random),
            Self::Noise => noise(side, random),
            Self::Blurred => {
                let pixels = choose(&[3, 4, 6, 8], random);
                reduced(image, pixels)
            }
            Self::Zoomed => {
                let part = part(side, choose(&[6, 8, 10, 14], random), random);
                resized_crop(image, part, side as usize)
            }
            Self::Tiled => tiled(image, random),
            Self::Edges => edges(image, random),
            Self::TwoTone => two_tone(image, random),
            Self::Drawn => drawn(side, random),
            Self::Illustration => {
                let canvas = illustration(side as usize, random);
                RgbImage::new(side, side, canvas.into_pixels())
            }
        }
    }
}

impl fmt::Display for SyntheticOutlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shuffled => "shuffled",
            Self::Noise => "noise",
            Self::Blurred => "blurred",
            Self::Zoomed => "zoomed",
            Self::Tiled => "tiled",
            Self::Edges => "edges",
            Self::TwoTone => "two-tone",
            Self::Drawn => "drawn",
            Self::Illustration => "illustration",
        })
    }
}

/// How often each kind of [`SyntheticOutlier`] occurs.
///
/// Illustrations teach "no" to say more to whatever is drawn or unusual, if known images are photographs. Where
/// the training data has drawings with captions, they are no outliers: their share is 0 by default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierMix {
    /// Share of [illustrations](SyntheticOutlier::Illustration), 0 to 1. The other kinds are equally likely.
    #[serde(default)]
    pub illustrations: f64,
}

impl OutlierMix {
    /// Draws a kind.
    pub fn draw(&self, random: &mut impl RandomSource) -> SyntheticOutlier {
        // Without illustrations nothing is drawn for them, so that the outliers are those of earlier versions.
        if self.illustrations > 0.0 && random.unit() < self.illustrations {
            return SyntheticOutlier::Illustration;
        }
        let others = SyntheticOutlier::ALL.len() as u64 - 1;
        SyntheticOutlier::ALL[random.below(others) as usize]
    }
}

/// Maximum side of an image, that of a resized crop.
const MAX_SIDE: u32 = 4096;

fn choose<T: Copy>(values: &[T], random: &mut impl RandomSource) -> T {
    values[random.below(values.len() as u64) as usize]
}

fn random_color(random: &mut impl RandomSource) -> [u8; 3] {
    std::array::from_fn(|_| random.below(256) as u8)
}

/// A random square of `sixty_fourths` of the side, at least 1 pixel.
fn part(side: u32, sixty_fourths: u32, random: &mut impl RandomSource) -> CropBox {
    let length = (side * sixty_fourths / 64).max(1);
    let mut offset = || random.below(u64::from(side - length) + 1) as u32;
    CropBox {
        left: offset(),
        top: offset(),
        width: length,
        height: length,
    }
}

fn whole(side: u32) -> CropBox {
    CropBox {
        left: 0,
        top: 0,
        width: side,
        height: side,
    }
}

/// Builds an image of this side from the color at each row and column.
fn from_colors(
    side: u32,
    mut color: impl FnMut(usize, usize) -> [u8; 3],
) -> Result<RgbImage, ImageError> {
    let length = side as usize;
    let mut pixels = Vec::with_capacity(length * length * 3);
    for row in 0..length {
        for column in 0..length {
            pixels.extend(color(row, column));
        }
    }
    RgbImage::new(side, side, pixels)
}

/// Returns the color at a row and column.
fn color_at(image: &RgbImage, row: usize, column: usize) -> [u8; 3] {
    image.pixels().as_chunks::<3>().0[row * image.width() as usize + column]
}

fn shuffled(image: &RgbImage, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let side = image.width() as usize;
    let per_side = choose(&[4, 8, 16], random).min(side);
    let block = side.div_ceil(per_side);
    let mut order: Vec<usize> = (0..per_side * per_side).collect();
    random.shuffle(&mut order);
    // If the blocks do not divide the side, those of the last row and column wrap around.
    from_colors(image.width(), |row, column| {
        let source = order[row / block * per_side + column / block];
        let source_row = source / per_side * block + row % block;
        let source_column = source % per_side * block + column % block;
        color_at(image, source_row % side, source_column % side)
    })
}

fn noise(side: u32, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let color = if random.below(2) == 0 {
        random_color(random)
    } else {
        [random.below(256) as u8; 3]
    };
    let deviation = 10.0 + 110.0 * random.unit();
    let is_gray = random.below(2) == 0;
    from_colors(side, |_, _| {
        let common = random.normal();
        color.map(|channel| {
            let value = if is_gray { common } else { random.normal() };
            (f64::from(channel) + deviation * value).clamp(0.0, 255.0) as u8
        })
    })
}

/// The image resized to `pixels` per side and back.
fn reduced(image: &RgbImage, pixels: usize) -> Result<RgbImage, ImageError> {
    let side = image.width();
    let small = resized_crop(image, whole(side), pixels)?;
    resized_crop(&small, whole(small.width()), side as usize)
}

fn tiled(image: &RgbImage, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let tile = part(image.width(), choose(&[8, 12, 16, 20], random), random);
    let is_mirrored = random.below(2) == 0;
    let length = tile.width as usize;
    let within = |position: usize| {
        let at = position % length;
        let is_odd = (position / length) % 2 == 1;
        if is_mirrored && is_odd {
            length - 1 - at
        } else {
            at
        }
    };
    from_colors(image.width(), |row, column| {
        let (top, left) = (tile.top as usize, tile.left as usize);
        color_at(image, top + within(row), left + within(column))
    })
}

fn edges(image: &RgbImage, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let side = image.width() as usize;
    let gray = image.to_gray();
    let gain = 1.0 + 2.0 * random.unit();
    let is_inverted = random.below(2) == 0;
    let luma = |row: usize, column: usize| f64::from(color_at(&gray, row, column)[0]);
    from_colors(image.width(), |row, column| {
        let is_border = row == 0 || column == 0 || row + 1 == side || column + 1 == side;
        let edge = if is_border {
            0.0
        } else {
            let rows = row - 1..=row + 1;
            let neighborhood: f64 = rows
                .flat_map(|row| (column - 1..=column + 1).map(move |column| (row, column)))
                .map(|(row, column)| luma(row, column))
                .sum();
            (gain * (9.0 * luma(row, column) - neighborhood)).clamp(0.0, 255.0)
        };
        [if is_inverted { 255.0 - edge } else { edge } as u8; 3]
    })
}

fn two_tone(image: &RgbImage, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let side = image.width();
    let smooth = reduced(&image.to_gray(), (side as usize / 4).max(1))?;
    let luma = |row: usize, column: usize| color_at(&smooth, row, column)[0];
    let mut sorted: Vec<u8> = smooth.pixels().iter().step_by(3).copied().collect();
    let middle = sorted.len() / 2;
    let median = *sorted.select_nth_unstable(middle).1;
    let colors = [random_color(random), random_color(random)];
    from_colors(side, |row, column| {
        colors[usize::from(luma(row, column) > median)]
    })
}

fn drawn(side: u32, random: &mut impl RandomSource) -> Result<RgbImage, ImageError> {
    let background = match random.below(4) {
        0 => [255; 3],
        1 => [0; 3],
        _ => random_color(random),
    };
    let mut canvas = Canvas::new(side as usize, background);
    for _ in 0..1 + random.below(6) {
        let color = random_color(random);
        canvas.fill(color, &random_shape(random));
    }
    RgbImage::new(side, side, canvas.into_pixels())
}

#[cfg(test)]
mod tests {
    use clipn_base::random::Xoshiro256;

    use super::*;

    /// An image in which every pixel differs from its neighbors.
    fn image(side: u32) -> RgbImage {
        from_colors(side, |row, column| {
            [(row * 37) as u8, (column * 11) as u8, (row * column) as u8]
        })
        .unwrap()
    }

    #[test]
    fn every_kind_keeps_the_size_and_repeats_from_its_seed() {
        for side in [1, 2, 7, 48, 64] {
            let image = image(side);
            for kind in SyntheticOutlier::ALL {
                let outlier = |seed| kind.apply(&image, &mut Xoshiro256::new(seed)).unwrap();
                let first = outlier(1);
                assert_eq!((first.width(), first.height()), (side, side), "{kind}");
                assert_eq!(first, outlier(1), "{kind}");
                if side >= 48 {
                    assert!((2..12).any(|seed| outlier(seed) != first), "{kind}");
                    assert_ne!(first, image, "{kind}");
                }
            }
        }
    }

    #[test]
    fn shuffling_keeps_the_pixels() {
        let sorted = |image: &RgbImage| {
            let mut pixels = image.pixels().as_chunks::<3>().0.to_vec();
            pixels.sort_unstable();
            pixels
        };
        let image = image(64);
        for seed in 0..6 {
            let shuffled = shuffled(&image, &mut Xoshiro256::new(seed)).unwrap();
            assert_eq!(sorted(&shuffled), sorted(&image));
        }
    }

    #[test]
    fn tiles_repeat_and_two_tones_are_two_colors() {
        let image = image(64);
        let colors = |image: &RgbImage| {
            let pixels = image.pixels().as_chunks::<3>().0.iter().copied();
            pixels.collect::<std::collections::BTreeSet<[u8; 3]>>()
        };
        for seed in 0..8 {
            let two_tone = two_tone(&image, &mut Xoshiro256::new(seed)).unwrap();
            assert!(colors(&two_tone).len() <= 2);
            let tiled = tiled(&image, &mut Xoshiro256::new(seed)).unwrap();
            assert!(colors(&tiled).len() <= 20 * 20);
        }
    }

    #[test]
    fn noise_has_no_structure_of_the_image() {
        let noise = noise(64, &mut Xoshiro256::new(3)).unwrap();
        let rows: Vec<f64> = noise
            .pixels()
            .chunks(64 * 3)
            .map(|row| row.iter().map(|&v| f64::from(v)).sum::<f64>() / 192.0)
            .collect();
        let mean = rows.iter().sum::<f64>() / 64.0;
        assert!(rows.iter().all(|row| (row - mean).abs() < 40.0), "{rows:?}");
    }

    #[test]
    fn illustrations_have_nothing_of_the_image() {
        let black = from_colors(64, |_, _| [0; 3]).unwrap();
        for seed in 0..32 {
            let draw = |image| {
                let mut random = Xoshiro256::new(seed);
                SyntheticOutlier::Illustration
                    .apply(image, &mut random)
                    .unwrap()
            };
            let drawn = draw(&black);
            assert_eq!(drawn, draw(&image(64)));
            // Something is drawn on the ground, in at least two colors.
            let pixels = drawn.pixels().as_chunks::<3>().0;
            let far = |pixel: &[u8; 3]| {
                let differences = pixel.iter().zip(&pixels[0]).map(|(a, b)| a.abs_diff(*b));
                differences.max().is_some_and(|difference| difference > 25)
            };
            assert!(
                pixels.iter().filter(|pixel| far(pixel)).count() > 64,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn the_mix_has_its_share_of_illustrations_and_all_other_kinds() {
        for (illustrations, expected) in [(0.0, 0..=0), (0.4, 1100..=1300), (1.0, 3000..=3000)] {
            let mut random = Xoshiro256::new(11);
            let mix = OutlierMix { illustrations };
            let kinds: Vec<_> = (0..3000).map(|_| mix.draw(&mut random)).collect();
            let count = |kind| kinds.iter().filter(|&&drawn| drawn == kind).count();
            let drawn = count(SyntheticOutlier::Illustration);
            assert!(expected.contains(&drawn), "{illustrations}: {drawn}");
            for kind in &SyntheticOutlier::ALL[..8] {
                let share = (3000 - drawn) / 8;
                assert!(count(*kind).abs_diff(share) <= share / 4, "{kind}");
            }
        }
    }

    #[test]
    fn other_shapes_than_squares_are_refused() {
        let image = RgbImage::new(3, 2, vec![0; 18]).unwrap();
        let error = SyntheticOutlier::Tiled
            .apply(&image, &mut Xoshiro256::new(0))
            .unwrap_err();
        assert!(error.to_string().contains("got 3 × 2"), "{error}");
    }
}
