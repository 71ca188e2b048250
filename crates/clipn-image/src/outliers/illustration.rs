//! Illustrations: a figure in front of a ground, a pattern, or a landscape.
use std::f64::consts::{PI, TAU};

use clipn_base::random::RandomSource;

use super::choose;
use super::drawing::{Canvas, Point, Shape};

/// Red, green and blue, each from 0 to 1.
type Color = [f64; 3];

/// Draws an illustration on a canvas of `side` pixels per side: of ten, eight figures in front of a ground,
/// one pattern and one landscape.
pub(super) fn illustration(side: usize, random: &mut impl RandomSource) -> Canvas {
    let mut canvas = Canvas::new(side, [0; 3]);
    match random.below(10) {
        0 => draw_pattern(&mut canvas, random),
        1 => draw_landscape(&mut canvas, random),
        _ => {
            let ground = draw_ground(&mut canvas, random);
            draw_figure(&mut canvas, &ground, random);
        }
    }
    canvas
}

/// Paints the whole canvas.
fn cover(canvas: &mut Canvas, mut color: impl FnMut(Point) -> Color) {
    canvas.paint(|point| Some(bytes(color(point))));
}

fn bytes(color: Color) -> [u8; 3] {
    color.map(|value| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8)
}

/// Blends linearly from `a` (`t` = 0) to `b` (`t` = 1).
fn mix(a: Color, b: Color, t: f64) -> Color {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * t)
}

fn range(low: f64, high: f64, random: &mut impl RandomSource) -> f64 {
    low + (high - low) * random.unit()
}

fn random_color(random: &mut impl RandomSource) -> Color {
    std::array::from_fn(|_| random.unit())
}

/// A light color, as grounds and skies have.
fn light_color(random: &mut impl RandomSource) -> Color {
    let color = random_color(random);
    mix(color, [1.0; 3], range(0.55, 0.95, random))
}

fn luma([red, green, blue]: Color) -> f64 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// A color that is easy to distinguish from all others.
fn contrasting_color(others: &[Color], random: &mut impl RandomSource) -> Color {
    let contrasts = |color: Color| {
        others.iter().all(|other| {
            let squared: f64 = color
                .iter()
                .zip(other)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            squared > 0.16 && (luma(color) - luma(*other)).abs() > 0.17
        })
    };
    for _ in 0..32 {
        let color = random_color(random);
        if contrasts(color) {
            return color;
        }
    }
    let lightest = others.iter().map(|&color| luma(color)).fold(0.0, f64::max);
    [if lightest > 0.5 { 0.05 } else { 0.95 }; 3]
}

/// The second color of a patterned figure: darker, or lighter if the color is nearly black.
fn shade(color: Color) -> Color {
    if luma(color) > 0.2 {
        mix(color, [0.0; 3], 0.45)
    } else {
        mix(color, [1.0; 3], 0.4)
    }
}

/// A pattern of two colors.
#[derive(Debug, Clone, Copy)]
enum Pattern {
    Stripes,
    Dots,
    Checkers,
    Waves,
    Bricks,
    Mesh,
}

impl Pattern {
    /// Whether a point, in units of the period, has the second color.
    fn contains(self, [x, y]: Point) -> bool {
        let fraction = |value: f64| value - value.floor();
        match self {
            Self::Stripes => fraction(x) < 0.5,
            Self::Dots => (fraction(x) - 0.5).hypot(fraction(y) - 0.5) < 0.31,
            Self::Checkers => (fraction(x / 1.3) < 0.5) == (fraction(y / 1.3) < 0.5),
            Self::Waves => fraction(x + 0.22 * (TAU * y).sin()) < 0.5,
            Self::Bricks => {
                let row = (y / 0.6).floor();
                let shift = if row.rem_euclid(2.0) < 1.0 { 0.0 } else { 0.5 };
                fraction(y / 0.6) < 0.22 || fraction(x + shift) < 0.13
            }
            Self::Mesh => fraction(x) < 0.2 || fraction(y) < 0.2,
        }
    }
}

/// Turns a point clockwise by an angle in radians.
fn turned([x, y]: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    [x * cos + y * sin, y * cos - x * sin]
}

fn draw_pattern(canvas: &mut Canvas, random: &mut impl RandomSource) {
    use Pattern::{Bricks, Checkers, Dots, Mesh, Stripes, Waves};
    let first = random_color(random);
    let colors = [first, contrasting_color(&[first], random)];
    let pattern = choose(&[Stripes, Dots, Checkers, Waves, Bricks, Mesh], random);
    let (period, angle) = (range(0.14, 0.34, random), range(0.0, PI, random));
    cover(canvas, |point| {
        let point = turned(point, angle).map(|value| value / period);
        colors[usize::from(pattern.contains(point))]
    });
}

/// Draws the sky, and in front of it three layers of hills, peaks, waves or plains.
fn draw_landscape(canvas: &mut Canvas, random: &mut impl RandomSource) {
    let (sky, ground) = (light_color(random), light_color(random));
    let haze = mix(sky, [1.0; 3], 0.35);
    cover(canvas, |[_, y]| mix(sky, haze, y));
    let kind = random.below(4);
    for layer in 0..3 {
        let depth = f64::from(layer) / 2.0;
        let far = mix(ground, haze, 0.4);
        let color = bytes(mix(far, mix(ground, [0.0; 3], 0.3), depth));
        let level = 0.42 + 0.38 * depth + range(-0.04, 0.04, random);
        let (wave, phase) = (range(0.8, 1.9, random), random.unit());
        let height = range(0.05, 0.11, random);
        let edge = |x: f64| {
            let along = x * wave + phase;
            match kind {
                0 => level + height * (along * TAU).sin(),
                1 => level - 2.0 * height * (1.0 - (2.0 * (along - along.floor()) - 1.0).abs()),
                2 => level + 0.3 * height * (5.0 * along * TAU).sin(),
                _ => level,
            }
        };
        canvas.paint(|[x, y]| (y > edge(x)).then_some(color));
    }
}

/// Draws a ground: plain, a gradient, a horizon, or rough. Returns its colors.
fn draw_ground(canvas: &mut Canvas, random: &mut impl RandomSource) -> Vec<Color> {
    let base = light_color(random);
    let darker = |share: f64| mix(base, [0.0; 3], share);
    match random.below(20) {
        0..=2 => {
            let to = darker(0.21);
            let angle = range(0.0, TAU, random);
            cover(canvas, |[x, y]| {
                let [along, _] = turned([x - 0.5, y - 0.5], angle);
                mix(base, to, (0.5 + 0.75 * along).clamp(0.0, 1.0))
            });
            vec![base, to]
        }
        3..=5 => {
            let ground = light_color(random);
            let (level, slope) = (range(0.45, 0.75, random), range(-0.08, 0.08, random));
            let paler = mix(base, [1.0; 3], 0.25);
            cover(canvas, |[x, y]| {
                let edge = level + slope * (x - 0.5);
                if y > edge {
                    ground
                } else {
                    mix(base, paler, y / edge)
                }
            });
            vec![base, ground]
        }
        6..=8 => {
            let to = darker(0.11);
            let grain = Grain::new(random);
            cover(canvas, |[x, y]| {
                let smooth = grain.at([x * 7.0, y * 7.0]);
                mix(base, to, 0.65 * smooth + 0.35 * random.unit())
            });
            vec![base, to]
        }
        _ => {
            cover(canvas, |_| base);
            vec![base]
        }
    }
}

/// Random values on a lattice, interpolated smoothly.
#[derive(Debug)]
struct Grain([[f64; Self::CELLS]; Self::CELLS]);

impl Grain {
    const CELLS: usize = 8;

    fn new(random: &mut impl RandomSource) -> Self {
        Self(std::array::from_fn(|_| {
            std::array::from_fn(|_| random.unit())
        }))
    }

    /// The value at a point in units of the lattice, which repeats.
    fn at(&self, point: Point) -> f64 {
        let [column, row] =
            point.map(|value| value.floor().rem_euclid(Self::CELLS as f64) as usize);
        let [u, v] = point.map(|value| {
            let t = value - value.floor();
            t * t * (3.0 - 2.0 * t)
        });
        let across = |row: usize| {
            let values = &self.0[row % Self::CELLS];
            let (from, to) = (values[column], values[(column + 1) % Self::CELLS]);
            from + (to - from) * u
        };
        across(row) + (across(row + 1) - across(row)) * v
    }
}

/// A union of shapes about the size of the unit disc, without a hole.
#[derive(Debug)]
struct Figure {
    parts: Vec<Shape>,
    hole: Option<Shape>,
}

impl Figure {
    fn random(random: &mut impl RandomSource) -> Self {
        let parts = match random.below(4) {
            0 => vec![star(random)],
            1 => vec![blob(random)],
            2 => vec![vase(random)],
            _ => (0..2 + random.below(3)).map(|_| part(random)).collect(),
        };
        let hole = (random.below(4) == 0).then(|| ellipse(0.3, [0.2, 0.45], random));
        Self { parts, hole }
    }

    fn contains(&self, point: Point) -> bool {
        self.parts.iter().any(|part| part.contains(point))
            && !self.hole.as_ref().is_some_and(|hole| hole.contains(point))
    }
}

fn polar(radius: f64, angle: f64) -> Point {
    [radius * angle.sin(), -radius * angle.cos()]
}

/// A star or regular polygon of three to eight corners.
fn star(random: &mut impl RandomSource) -> Shape {
    let corners = 3 + random.below(6) as usize;
    let inner = if random.below(3) == 0 {
        // The middle of an edge.
        (PI / corners as f64).cos()
    } else {
        range(0.3, 0.75, random)
    };
    let radius = |index: usize| if index.is_multiple_of(2) { 1.0 } else { inner };
    let angle = |index: usize| index as f64 * PI / corners as f64;
    let points = (0..2 * corners).map(|index| polar(radius(index), angle(index)));
    Shape::Polygon(points.collect())
}

/// A closed smooth curve.
fn blob(random: &mut impl RandomSource) -> Shape {
    let waves: Vec<[f64; 3]> = (1..=5)
        .map(|count| {
            let count = f64::from(count);
            [
                count,
                range(0.0, 0.4, random) / count.sqrt(),
                range(0.0, TAU, random),
            ]
        })
        .collect();
    let points = (0..48).map(|index| {
        let angle = f64::from(index) / 48.0 * TAU;
        let sum: f64 = waves
            .iter()
            .map(|[count, height, phase]| height * (count * angle + phase).cos())
            .sum();
        polar((0.7 * (1.0 + sum)).clamp(0.15, 1.05), angle)
    });
    Shape::Polygon(points.collect())
}

/// A polygon that is symmetric to its vertical axis.
fn vase(random: &mut impl RandomSource) -> Shape {
    let steps = 3 + random.below(4);
    let half: Vec<Point> = (0..=steps)
        .map(|step| {
            let y = -0.95 + 1.9 * step as f64 / steps as f64;
            [range(0.05, 1.0, random), y + range(-0.1, 0.1, random)]
        })
        .collect();
    let other = half.iter().rev().map(|[x, y]| [-x, *y]);
    Shape::Polygon(half.iter().copied().chain(other).collect())
}

/// An ellipse, or a rectangle in any direction.
fn part(random: &mut impl RandomSource) -> Shape {
    if random.below(2) == 0 {
        return ellipse(0.55, [0.2, 0.6], random);
    }
    let (angle, center) = (range(0.0, PI, random), near_center(0.45, random));
    let [half_width, half_height] = [range(0.1, 0.6, random), range(0.1, 0.6, random)];
    let corners = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]];
    let points = corners.map(|[x, y]| {
        let [x, y] = turned([x * half_width, y * half_height], angle);
        [center[0] + x, center[1] + y]
    });
    Shape::Polygon(points.to_vec())
}

fn near_center(distance: f64, random: &mut impl RandomSource) -> Point {
    [0; 2].map(|_: i32| range(-distance, distance, random))
}

fn ellipse(distance: f64, radii: [f64; 2], random: &mut impl RandomSource) -> Shape {
    Shape::Ellipse {
        center: near_center(distance, random),
        radii: [0; 2].map(|_: i32| range(radii[0], radii[1], random)),
    }
}

/// Draws a figure with a rim, plain or with a pattern, in colors that differ from those of the ground.
fn draw_figure(canvas: &mut Canvas, ground: &[Color], random: &mut impl RandomSource) {
    use Pattern::{Checkers, Dots, Stripes};
    let figure = Figure::random(random);
    let scale = range(0.29, 0.43, random);
    let shift = 0.7 * (0.5 - scale);
    let center = near_center(shift, random).map(|value| value + 0.5);
    let angle = range(0.0, TAU, random);
    let first = contrasting_color(ground, random);
    let colors = [first, shade(first)].map(bytes);
    let rim = bytes(mix(first, [0.0; 3], 0.35));
    let pattern = (random.below(10) < 3).then(|| choose(&[Stripes, Dots, Checkers], random));
    let (period, phase) = (range(0.15, 0.21, random), random.unit());
    canvas.paint(|[x, y]| {
        let point = turned([(x - center[0]) / scale, (y - center[1]) / scale], angle);
        if !figure.contains(point) {
            None
        } else if !figure.contains(point.map(|value| value * 1.13)) {
            Some(rim)
        } else {
            let in_periods = point.map(|value| value * scale / period + phase);
            let is_second = pattern.is_some_and(|pattern| pattern.contains(in_periods));
            Some(colors[usize::from(is_second)])
        }
    });
}
