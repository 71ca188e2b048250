//! Random flat shapes.
use clipn_base::random::RandomSource;

/// A point in units of the side, x to the right and y down.
pub(super) type Point = [f64; 2];

/// A shape in the unit square.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// The even–odd interior of a polygon.
    Polygon(Vec<Point>),
    /// Segments through points, with round ends.
    Stroke { points: Vec<Point>, width: f64 },
    /// An ellipse with axes along x and y.
    Ellipse { center: Point, radii: Point },
    /// A part of the outline of an ellipse: from `start` radians on, for `span` radians.
    Arc {
        center: Point,
        radii: Point,
        width: f64,
        start: f64,
        span: f64,
    },
}

impl Shape {
    pub(super) fn contains(&self, point: Point) -> bool {
        match self {
            Self::Polygon(points) => is_in_polygon(points, point),
            Self::Stroke { points, width } => points
                .windows(2)
                .any(|ends| distance_to_segment(ends[0], ends[1], point) <= width / 2.0),
            Self::Ellipse { center, radii } => {
                squared_length(normalized(*center, *radii, point)) <= 1.0
            }
            Self::Arc {
                center,
                radii,
                width,
                start,
                span,
            } => {
                let [x, y] = normalized(*center, *radii, point);
                let to_outline = (x.hypot(y) - 1.0).abs() * radii[0].min(radii[1]);
                let angle = (y.atan2(x) - start).rem_euclid(std::f64::consts::TAU);
                to_outline <= width / 2.0 && angle <= *span
            }
        }
    }
}

fn squared_length([x, y]: Point) -> f64 {
    x * x + y * y
}

/// The point in units of the radii from the center.
fn normalized(center: Point, radii: Point, [x, y]: Point) -> Point {
    [(x - center[0]) / radii[0], (y - center[1]) / radii[1]]
}

fn is_in_polygon(points: &[Point], [x, y]: Point) -> bool {
    let ends = points.iter().zip(points.iter().cycle().skip(1));
    let crossings = ends.filter(|&(&[ax, ay], &[bx, by])| {
        (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax
    });
    crossings.count() % 2 == 1
}

fn distance_to_segment(from: Point, to: Point, [x, y]: Point) -> f64 {
    let direction = [to[0] - from[0], to[1] - from[1]];
    let offset = [x - from[0], y - from[1]];
    let length = squared_length(direction);
    let along = if length > 0.0 {
        ((offset[0] * direction[0] + offset[1] * direction[1]) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (offset[0] - along * direction[0]).hypot(offset[1] - along * direction[1])
}

/// Draws a polygon or stroke through 3 to 6 points, an ellipse, or an arc, all equally likely.
pub(super) fn random_shape(random: &mut impl RandomSource) -> Shape {
    let kind = random.below(4);
    let count = 3 + random.below(4) as usize;
    let mut point = || [random.unit(), random.unit()];
    let points: Vec<Point> = (0..count).map(|_| point()).collect();
    let [a, b] = [points[0], points[1]];
    let center = [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0];
    let radii = [0, 1].map(|axis: usize| ((a[axis] - b[axis]).abs() / 2.0).max(0.02));
    match kind {
        0 => Shape::Polygon(points),
        1 => Shape::Stroke {
            points,
            width: 0.015 + 0.11 * random.unit(),
        },
        2 => Shape::Ellipse { center, radii },
        _ => Shape::Arc {
            center,
            radii,
            width: 0.025 + 0.085 * random.unit(),
            start: std::f64::consts::TAU * random.unit(),
            span: std::f64::consts::TAU * (0.25 + 0.75 * random.unit()),
        },
    }
}

/// A square image that shapes are filled into.
#[derive(Debug)]
pub(super) struct Canvas {
    side: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    pub(super) fn new(side: usize, background: [u8; 3]) -> Self {
        Self {
            side,
            pixels: vec![background; side * side],
        }
    }

    /// Fills a shape with a color; its outline is smoothed.
    pub(super) fn fill(&mut self, color: [u8; 3], shape: &Shape) {
        self.paint(|point| shape.contains(point).then_some(color));
    }

    /// Paints over the canvas. `color` returns the color at a point of the unit square, or `None` to keep what
    /// is there; each pixel is the mean of four points.
    pub(super) fn paint(&mut self, mut color: impl FnMut(Point) -> Option<[u8; 3]>) {
        let side = self.side as f64;
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            let (row, column) = (index / self.side, index % self.side);
            let old = *pixel;
            let mut sums = [0; 3];
            for [x, y] in [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]] {
                let point = [(column as f64 + x) / side, (row as f64 + y) / side];
                let sample = color(point).unwrap_or(old);
                for (sum, value) in sums.iter_mut().zip(sample) {
                    *sum += u32::from(value);
                }
            }
            *pixel = sums.map(|sum| (sum / 4) as u8);
        }
    }

    /// Returns the pixels, `[side, side, 3]`.
    pub(super) fn into_pixels(self) -> Vec<u8> {
        self.pixels.into_flattened()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(shape: &Shape) -> usize {
        let mut canvas = Canvas::new(100, [0; 3]);
        canvas.fill([255; 3], shape);
        let pixels = canvas.into_pixels();
        pixels
            .iter()
            .step_by(3)
            .filter(|&&value| value > 127)
            .count()
    }

    #[test]
    fn shapes_cover_their_areas() {
        let square = [[0.2, 0.2], [0.7, 0.2], [0.7, 0.7], [0.2, 0.7]];
        assert_eq!(covered(&Shape::Polygon(square.to_vec())), 2500);
        let (center, radii) = ([0.5, 0.5], [0.4, 0.2]);
        let ellipse = covered(&Shape::Ellipse { center, radii });
        assert!((2480..2550).contains(&ellipse), "{ellipse}");
        let stroke = covered(&Shape::Stroke {
            points: vec![[0.2, 0.5], [0.8, 0.5]],
            width: 0.1,
        });
        assert!((650..700).contains(&stroke), "{stroke}");
        let arc = |span| {
            covered(&Shape::Arc {
                center,
                radii: [0.3, 0.3],
                width: 0.1,
                start: 0.0,
                span,
            })
        };
        let ring = arc(std::f64::consts::TAU);
        assert!((1800..1970).contains(&ring), "{ring}");
        assert!(arc(std::f64::consts::PI).abs_diff(ring / 2) < 40);
    }
}
