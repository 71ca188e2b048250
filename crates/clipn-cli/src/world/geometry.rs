//! Plane figures as signed distance functions: negative inside, positive outside; y points down.

/// Point or vector `[x, y]`.
pub(super) type Point = [f32; 2];

/// Component of an [`Outline`].
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// A disc with a center and a radius.
    Disc(Point, f32),
    /// A closed polygon.
    Polygon(Vec<Point>),
}

/// Union of `parts` minus the union of `cut`.
#[derive(Debug, Clone, Default)]
pub(super) struct Outline {
    pub(super) parts: Vec<Part>,
    pub(super) cut: Vec<Part>,
}

/// Placement of an outline on a canvas, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub(super) center: Point,
    /// Pixels per unit of the outline.
    pub(super) scale: f32,
    /// Cosine and sine of the rotation.
    pub(super) turn: Point,
    /// Whether the outline is flipped horizontally.
    pub(super) mirrored: bool,
}

impl Placement {
    /// Creates a placement rotated clockwise by `angle` radians.
    pub(super) fn new(center: Point, scale: f32, angle: f32, mirrored: bool) -> Self {
        Self {
            center,
            scale,
            turn: [libm::cosf(angle), libm::sinf(angle)],
            mirrored,
        }
    }

    /// Converts a pixel position to the coordinates of the outline.
    pub(super) fn to_outline(self, [x, y]: Point) -> Point {
        let ([dx, dy], [cos, sin]) = ([x - self.center[0], y - self.center[1]], self.turn);
        let [u, v] = [
            (dx * cos + dy * sin) / self.scale,
            (dy * cos - dx * sin) / self.scale,
        ];
        if self.mirrored { [-u, v] } else { [u, v] }
    }
}

impl Part {
    /// Returns the signed distance of `p` from the edge.
    fn distance(&self, p: Point) -> f32 {
        match self {
            Self::Disc(center, radius) => length(sub(p, *center)) - radius,
            Self::Polygon(points) => polygon(points, p),
        }
    }
}

impl Outline {
    /// Returns the signed distance of `p` from the edge; exact near the edge, where it matters.
    pub(super) fn distance(&self, p: Point) -> f32 {
        let nearest = |parts: &[Part]| {
            parts
                .iter()
                .map(|part| part.distance(p))
                .fold(f32::INFINITY, f32::min)
        };
        nearest(&self.parts).max(-nearest(&self.cut))
    }
}

/// Returns the fraction of a pixel inside an edge at signed `distance` pixels, for antialiasing.
pub(super) fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Returns the distance of `p` from the segment from `a` to `b`.
pub(super) fn segment(p: Point, a: Point, b: Point) -> f32 {
    let (ap, ab) = (sub(p, a), sub(b, a));
    let squared = dot(ab, ab);
    let t = if squared > 0.0 {
        (dot(ap, ab) / squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    length([ap[0] - t * ab[0], ap[1] - t * ab[1]])
}

/// Returns the distance from the nearest edge, with the sign of the even-odd rule.
fn polygon(points: &[Point], p: Point) -> f32 {
    let (mut nearest, mut inside) = (f32::INFINITY, false);
    for (i, &a) in points.iter().enumerate() {
        let b = points[(i + 1) % points.len()];
        nearest = nearest.min(segment(p, a, b));
        if (a[1] > p[1]) != (b[1] > p[1]) {
            let crossing = a[0] + (p[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
            inside ^= p[0] < crossing;
        }
    }
    if inside { -nearest } else { nearest }
}

fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_signed() {
        let square = Outline {
            parts: vec![Part::Polygon(vec![
                [-1., -1.],
                [1., -1.],
                [1., 1.],
                [-1., 1.],
            ])],
            cut: vec![],
        };
        for (p, distance) in [
            ([0.0, 0.0], -1.0),
            ([0.5, 0.0], -0.5),
            ([3.0, 0.0], 2.0),
            ([4.0, 5.0], 5.0),
        ] {
            assert!((square.distance(p) - distance).abs() < 1e-6, "{p:?}");
        }
        let ring = Outline {
            parts: vec![Part::Disc([0., 0.], 2.0)],
            cut: vec![Part::Disc([0., 0.], 1.0)],
        };
        for (p, distance) in [([0.0, 0.0], 1.0), ([1.5, 0.0], -0.5), ([0.0, 3.0], 1.0)] {
            assert!((ring.distance(p) - distance).abs() < 1e-6, "{p:?}");
        }
    }

    #[test]
    fn placements_convert_pixels_to_outline_coordinates() {
        let placement = Placement::new([10.0, 20.0], 5.0, std::f32::consts::FRAC_PI_2, false);
        // A quarter turn clockwise on the screen: the right of the outline points down.
        let [u, v] = placement.to_outline([10.0, 25.0]);
        assert!((u - 1.0).abs() < 1e-6 && v.abs() < 1e-6, "{u} {v}");
        let mirrored = Placement {
            mirrored: true,
            ..placement
        }
        .to_outline([10.0, 25.0]);
        assert!((mirrored[0] + 1.0).abs() < 1e-6);
    }
}
