//! Far out-of-distribution images: patterns, noise, empty landscapes and glyphs instead of shapes.

use std::f32::consts::{PI, TAU};

use super::canvas::Canvas;
use super::color::{BACKGROUND_COLORS, Color, SHAPE_COLORS, contrasts, luma, mix, vary};
use super::geometry::{Placement, Point, coverage, segment};
use super::glyph::{GLYPHS, polylines};
use super::random::Random;
use super::scene::{Grain, LANDSCAPE_COLORS};
use super::texture::Texture;

/// Far out-of-distribution set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    Textures,
    Noise,
    Scenes,
    Glyphs,
}

impl Far {
    pub(super) const ALL: [Self; 4] = [Self::Textures, Self::Noise, Self::Scenes, Self::Glyphs];

    /// Name of the set in tables and directories.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Textures => "textures",
            Self::Noise => "noise",
            Self::Scenes => "scenes",
            Self::Glyphs => "glyphs",
        }
    }

    /// Draws an image, `[side, side, 3]`.
    pub(super) fn draw(self, side: usize, mut random: Random) -> Vec<u8> {
        let random = &mut random;
        match self {
            Self::Textures => texture(side, random),
            Self::Noise => noise(side, random),
            Self::Scenes => scene(side, random),
            Self::Glyphs => glyph(side, random),
        }
        .into_bytes()
    }
}

/// Chooses two contrasting colors.
fn contrasting_colors(random: &mut Random) -> [Color; 2] {
    let first = random.choose(&SHAPE_COLORS).rgb;
    let mut second = if luma(first) > 0.5 {
        [0.1; 3]
    } else {
        [0.95; 3]
    };
    for _ in 0..16 {
        let other = random.choose(&BACKGROUND_COLORS).rgb;
        if contrasts(first, other) {
            second = other;
            break;
        }
    }
    [vary(first, 0.06, random), vary(second, 0.06, random)]
}

/// Draws one pattern over the whole image: stripes, dots, checkers, waves, bricks or a mesh.
fn texture(side: usize, random: &mut Random) -> Canvas {
    let [a, b] = contrasting_colors(random);
    let length = side as f32;
    let period = length * random.range(0.14, 0.34);
    let placement = Placement::new([0.0, 0.0], 1.0, random.range(0.0, PI), false);
    let kind = random.below(6);
    Canvas::fill(side, |pixel| {
        let [u, v] = placement.to_outline(pixel);
        let fraction = match kind {
            0 => Texture::Striped.share([u, v], period),
            1 => Texture::Dotted.share([u, v], period),
            2 => Texture::Checkered.share([u, v], period),
            3 => Texture::Striped.share(
                [u + 0.22 * period * libm::sinf(v * TAU / period), v],
                period,
            ),
            4 => bricks([u, v], period),
            _ => 1.0 - lines(u, period, 0.2).max(lines(v, period, 0.2)),
        };
        mix(a, b, fraction)
    })
}

/// Returns the coverage of lines a `period` apart; `width` is a fraction of the period.
fn lines(value: f32, period: f32, width: f32) -> f32 {
    let position = value / period;
    coverage(((position - position.floor() - 0.5).abs() - width / 2.0) * period)
}

/// Returns the coverage of the joints between bricks.
fn bricks([u, v]: Point, period: f32) -> f32 {
    let height = period * 0.6;
    let row = (v / height + 0.5).floor();
    let shift = if row.rem_euclid(2.0) < 1.0 {
        0.0
    } else {
        period / 2.0
    };
    lines(v + height / 2.0, height, 0.22).max(lines(u + shift, period, 0.13))
}

/// Draws white noise, coarse blocks or soft clouds of color.
fn noise(side: usize, random: &mut Random) -> Canvas {
    let length = side as f32;
    let gray = random.chance(0.4);
    let kind = random.below(3);
    let cells = if kind == 0 { side } else { 4 + random.below(5) };
    let lattices = [
        Grain::new(random, cells),
        Grain::new(random, cells),
        Grain::new(random, cells),
    ];
    let per_pixel = cells as f32 / length;
    Canvas::fill(side, |[x, y]| {
        let (mut u, mut v) = (x * per_pixel, y * per_pixel);
        if kind < 2 {
            (u, v) = (u.floor(), v.floor());
        }
        let [r, g, b] = [0, 1, 2].map(|channel: usize| lattices[channel].at(u, v));
        if gray { [r; 3] } else { [r, g, b] }
    })
}

/// Draws an empty landscape: hills, mountains, the sea, or rain.
fn scene(side: usize, random: &mut Random) -> Canvas {
    let length = side as f32;
    let (sky, ground) = random.choose(&LANDSCAPE_COLORS);
    let (sky, ground) = (vary(sky, 0.06, random), vary(ground, 0.06, random));
    let haze = mix(sky, [1.0; 3], 0.35);
    let mut canvas = Canvas::fill(side, |[_, y]| mix(sky, haze, y / length));
    let kind = random.below(4);
    for layer in 0..3 {
        let level = length * (0.42 + 0.19 * layer as f32 + random.range(-0.04, 0.04));
        let color = mix(
            mix(ground, haze, 0.4),
            mix(ground, [0.0; 3], 0.3),
            layer as f32 / 2.0,
        );
        let (wave, phase) = (random.range(0.8, 1.9), random.range(0.0, TAU));
        let height = length * random.range(0.05, 0.11);
        canvas.paint(|[x, y]| {
            let t = x / length * wave;
            let edge = match kind {
                0 => level + height * libm::sinf(t * TAU + phase),
                1 => level + height * (4.0 * ((2.0 * t + phase).fract() - 0.5).abs() - 1.0),
                2 => level + 0.05 * length * libm::sinf(5.0 * t * TAU + phase),
                _ => level,
            };
            (color, coverage(edge - y))
        });
    }
    if kind == 3 {
        let slant = random.range(-0.5, 0.5);
        let drops: Vec<[Point; 2]> = (0..14)
            .map(|_| {
                let (x, y) = (random.range(0.0, length), random.range(0.0, length));
                [[x, y], [x + 0.14 * length * slant, y + 0.14 * length]]
            })
            .collect();
        canvas.paint(|p| {
            let nearest = drops
                .iter()
                .map(|&[a, b]| segment(p, a, b))
                .fold(f32::INFINITY, f32::min);
            ([0.9, 0.93, 0.97], 0.7 * coverage(nearest - 0.012 * length))
        });
    }
    canvas
}

/// Draws one or two glyphs with a pen stroke.
fn glyph(side: usize, random: &mut Random) -> Canvas {
    let [ink, paper] = contrasting_colors(random);
    let length = side as f32;
    let mut canvas = Canvas::fill(side, |_| paper);
    let count = 1 + random.below(2);
    for position in 0..count {
        let strokes = polylines(random.choose(&GLYPHS));
        let scale = length
            * if count == 1 {
                random.range(0.3, 0.4)
            } else {
                random.range(0.25, 0.31)
            };
        let center = [
            length * (position as f32 + 0.5) / count as f32 + length * random.range(-0.04, 0.04),
            length * (0.5 + random.range(-0.06, 0.06)),
        ];
        let placement = Placement::new(center, scale, random.range(-0.25, 0.25), false);
        let pen = length * random.range(0.028, 0.05);
        canvas.paint(|pixel| {
            let p = placement.to_outline(pixel);
            let pairs = strokes.iter().flat_map(|chain| chain.windows(2));
            let nearest = pairs
                .map(|pair| segment(p, pair[0], pair[1]))
                .fold(f32::INFINITY, f32::min);
            (ink, coverage(nearest * scale - pen))
        });
    }
    canvas
}
