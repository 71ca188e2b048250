use super::canvas::Canvas;
use super::color::{BACKGROUND_COLORS, Color, Named, mix, vary};
use super::random::Random;

/// Kind of background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Gradient,
    Horizon,
    Noise,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Gradient, Kind::Horizon, Kind::Noise];

/// Sky colors with their ground colors.
pub(super) const LANDSCAPE_COLORS: [(Color, Color); 4] = [
    ([0.70, 0.86, 0.97], [0.68, 0.83, 0.52]),
    ([0.98, 0.84, 0.72], [0.84, 0.69, 0.62]),
    ([0.80, 0.89, 0.96], [0.95, 0.96, 0.98]),
    ([0.76, 0.88, 0.94], [0.92, 0.85, 0.66]),
];

/// Background of an image.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    kind: Kind,
    backdrop: Named,
    /// First and last color of the range.
    colors: [Color; 2],
}

impl Scene {
    /// Samples a background of any kind.
    pub(super) fn sample(random: &mut Random) -> Self {
        let kind = if random.chance(0.4) {
            Kind::Plain
        } else {
            random.choose(&KINDS)
        };
        let backdrop = random.choose(&BACKGROUND_COLORS);
        let colors = if kind == Kind::Horizon {
            let (sky, ground) = random.choose(&LANDSCAPE_COLORS);
            [vary(sky, 0.04, random), vary(ground, 0.04, random)]
        } else {
            let base = vary(backdrop.rgb, 0.04, random);
            let contrast = if kind == Kind::Gradient { 0.75 } else { 0.4 };
            [base, mix(base, mix(base, [0.0; 3], 0.28), contrast)]
        };
        Self {
            kind,
            backdrop,
            colors,
        }
    }

    /// Returns the colors that a shape in front must contrast with.
    pub(super) fn colors(&self) -> &[Color] {
        if self.kind == Kind::Plain {
            &self.colors[..1]
        } else {
            &self.colors
        }
    }

    /// Describes the background in a caption.
    pub(super) fn words(&self) -> String {
        match self.kind {
            Kind::Plain => format!("on a {} background", self.backdrop.name),
            Kind::Gradient => format!("on a shaded {} background", self.backdrop.name),
            Kind::Noise => format!("on a rough {} background", self.backdrop.name),
            Kind::Horizon => "in a landscape".to_owned(),
        }
    }

    /// Draws the background.
    pub(super) fn draw(&self, side: usize, random: &mut Random) -> Canvas {
        let [a, b] = self.colors;
        let length = side as f32;
        match self.kind {
            Kind::Plain => Canvas::fill(side, |_| a),
            Kind::Gradient => {
                let angle = random.range(0.0, std::f32::consts::TAU);
                let (dx, dy) = (libm::cosf(angle) / length, libm::sinf(angle) / length);
                let half = length / 2.0;
                Canvas::fill(side, |[x, y]| {
                    let t = 0.5 + 0.75 * ((x - half) * dx + (y - half) * dy);
                    mix(a, b, t.clamp(0.0, 1.0))
                })
            }
            Kind::Horizon => {
                let (level, slope) = (random.range(0.45, 0.75) * length, random.range(-0.08, 0.08));
                let paler = mix(a, [1.0; 3], 0.25);
                Canvas::fill(side, |[x, y]| {
                    let edge = level + slope * (x - length / 2.0);
                    let sky = mix(a, paler, (y / edge).clamp(0.0, 1.0));
                    mix(sky, b, (0.5 + y - edge).clamp(0.0, 1.0))
                })
            }
            Kind::Noise => {
                let grain = Grain::new(random, 8);
                Canvas::fill(side, |[x, y]| {
                    let smooth = grain.at(x / length * 7.0, y / length * 7.0);
                    mix(a, b, (0.65 * smooth + 0.35 * random.unit()).clamp(0.0, 1.0))
                })
            }
        }
    }
}

/// Value noise: random values on a lattice, interpolated smoothly.
#[derive(Debug)]
pub(super) struct Grain {
    values: Vec<f32>,
    cells: usize,
}

impl Grain {
    /// Creates a lattice of `cells` x `cells` values, repeated periodically.
    pub(super) fn new(random: &mut Random, cells: usize) -> Self {
        Self {
            values: (0..cells * cells).map(|_| random.unit()).collect(),
            cells,
        }
    }

    /// Returns the value at a point with nonnegative coordinates, in lattice units.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x as usize, y as usize);
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (u, v) = (ease(x - column as f32), ease(y - row as f32));
        let value = |c: usize, r: usize| self.values[r % self.cells * self.cells + c % self.cells];
        let across = |r: usize| value(column, r) + (value(column + 1, r) - value(column, r)) * u;
        across(row) + (across(row + 1) - across(row)) * v
    }
}
