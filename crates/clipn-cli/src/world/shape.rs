use std::f32::consts::{PI, TAU};

use super::geometry::{Outline, Part, Point};

/// Role of a shape in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// In-distribution: in the training data and one of the classes of the classifier.
    Id,
    /// In the training data only: a model has seen more than the classes of one task.
    Other,
    /// Near out-of-distribution: not in the training data.
    Near,
}

/// Named shape.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) role: Role,
    outline: fn() -> Outline,
}

/// All shapes, grouped by role and sorted by name (bytewise) within a role, which is the order of
/// class folders.
pub(super) static SHAPES: [Shape; 22] = [
    Shape {
        name: "arrow",
        role: Role::Id,
        outline: arrow,
    },
    Shape {
        name: "circle",
        role: Role::Id,
        outline: circle,
    },
    Shape {
        name: "crescent",
        role: Role::Id,
        outline: crescent,
    },
    Shape {
        name: "cross",
        role: Role::Id,
        outline: cross,
    },
    Shape {
        name: "drop",
        role: Role::Id,
        outline: droplet,
    },
    Shape {
        name: "heart",
        role: Role::Id,
        outline: heart,
    },
    Shape {
        name: "ring",
        role: Role::Id,
        outline: ring,
    },
    Shape {
        name: "square",
        role: Role::Id,
        outline: square,
    },
    Shape {
        name: "star",
        role: Role::Id,
        outline: star,
    },
    Shape {
        name: "triangle",
        role: Role::Id,
        outline: triangle,
    },
    Shape {
        name: "bolt",
        role: Role::Other,
        outline: bolt,
    },
    Shape {
        name: "cloud",
        role: Role::Other,
        outline: cloud,
    },
    Shape {
        name: "flower",
        role: Role::Other,
        outline: flower,
    },
    Shape {
        name: "gear",
        role: Role::Other,
        outline: gear,
    },
    Shape {
        name: "key",
        role: Role::Other,
        outline: key,
    },
    Shape {
        name: "tree",
        role: Role::Other,
        outline: tree,
    },
    Shape {
        name: "crown",
        role: Role::Near,
        outline: crown,
    },
    Shape {
        name: "fish",
        role: Role::Near,
        outline: fish,
    },
    Shape {
        name: "hourglass",
        role: Role::Near,
        outline: hourglass,
    },
    Shape {
        name: "house",
        role: Role::Near,
        outline: house,
    },
    Shape {
        name: "leaf",
        role: Role::Near,
        outline: leaf,
    },
    Shape {
        name: "mushroom",
        role: Role::Near,
        outline: mushroom,
    },
];

impl Shape {
    /// Returns the outline of the shape, about the size of the unit disc.
    pub(super) fn outline(&self) -> Outline {
        (self.outline)()
    }

    /// Returns the shapes of a role with their indices in [`SHAPES`].
    pub(super) fn with_role(role: Role) -> impl Iterator<Item = (usize, &'static Self)> {
        SHAPES
            .iter()
            .enumerate()
            .filter(move |(_, shape)| shape.role == role)
    }
}

/// Returns the union of `parts`.
fn union(parts: impl Into<Vec<Part>>) -> Outline {
    Outline {
        parts: parts.into(),
        cut: Vec::new(),
    }
}

/// Returns `outline` minus the union of `cut`.
fn without(outline: Outline, cut: impl Into<Vec<Part>>) -> Outline {
    Outline {
        cut: cut.into(),
        ..outline
    }
}

fn polygon<const N: usize>(points: [Point; N]) -> Part {
    Part::Polygon(points.to_vec())
}

fn rectangle(left: f32, top: f32, right: f32, bottom: f32) -> Part {
    polygon([[left, top], [right, top], [right, bottom], [left, bottom]])
}

/// Returns the point at `angle` radians clockwise from the top.
fn polar(radius: f32, angle: f32) -> Point {
    [radius * libm::sinf(angle), -radius * libm::cosf(angle)]
}

/// Returns the polygon through `count` points of a closed curve with a parameter in [0, 1).
fn curve(count: usize, point: impl Fn(f32) -> Point) -> Part {
    Part::Polygon((0..count).map(|i| point(i as f32 / count as f32)).collect())
}

fn circle() -> Outline {
    union([Part::Disc([0.0, 0.0], 0.9)])
}

fn square() -> Outline {
    union([rectangle(-0.78, -0.78, 0.78, 0.78)])
}

fn triangle() -> Outline {
    union([polygon([[0.0, -0.95], [0.98, 0.75], [-0.98, 0.75]])])
}

fn star() -> Outline {
    let radius = |i: usize| if i.is_multiple_of(2) { 1.08 } else { 0.45 };
    union([Part::Polygon(
        (0..10)
            .map(|i| polar(radius(i), i as f32 * PI / 5.0))
            .collect(),
    )])
}

fn cross() -> Outline {
    union([
        rectangle(-0.28, -0.95, 0.28, 0.95),
        rectangle(-0.95, -0.28, 0.95, 0.28),
    ])
}

fn ring() -> Outline {
    without(
        union([Part::Disc([0.0, 0.0], 0.95)]),
        [Part::Disc([0.0, 0.0], 0.56)],
    )
}

/// Heart curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.
fn heart() -> Outline {
    let cos = libm::cosf;
    union([curve(36, |u| {
        let t = u * TAU;
        let sin = libm::sinf(t);
        let y = 13.0 * cos(t) - 5.0 * cos(2.0 * t) - 2.0 * cos(3.0 * t) - cos(4.0 * t);
        [sin * sin * sin * 0.98, -(y + 2.5) / 15.5]
    })])
}

fn crescent() -> Outline {
    without(
        union([Part::Disc([-0.1, 0.0], 0.95)]),
        [Part::Disc([0.38, -0.12], 0.76)],
    )
}

fn arrow() -> Outline {
    union([
        rectangle(-1.0, -0.24, 0.1, 0.24),
        polygon([[0.02, -0.78], [1.02, 0.0], [0.02, 0.78]]),
    ])
}

fn droplet() -> Outline {
    union([
        Part::Disc([0.0, 0.34], 0.62),
        polygon([[0.0, -1.05], [0.55, 0.07], [-0.55, 0.07]]),
    ])
}

fn bolt() -> Outline {
    union([polygon([
        [0.3, -1.0],
        [-0.6, 0.15],
        [-0.08, 0.15],
        [-0.3, 1.0],
        [0.6, -0.22],
        [0.08, -0.22],
    ])])
}

fn cloud() -> Outline {
    union([
        Part::Disc([-0.55, 0.2], 0.42),
        Part::Disc([-0.05, -0.15], 0.55),
        Part::Disc([0.52, 0.12], 0.46),
        rectangle(-0.55, 0.1, 0.52, 0.6),
    ])
}

fn flower() -> Outline {
    let petals: Vec<Part> = (0..5)
        .map(|i| Part::Disc(polar(0.58, i as f32 * TAU / 5.0), 0.4))
        .collect();
    without(union(petals), [Part::Disc([0.0, 0.0], 0.24)])
}

fn gear() -> Outline {
    let tooth = |i: usize| {
        let angle = i as f32 * TAU / 8.0;
        Part::Polygon(vec![
            polar(0.6, angle - 0.3),
            polar(1.0, angle - 0.19),
            polar(1.0, angle + 0.19),
            polar(0.6, angle + 0.3),
        ])
    };
    let mut parts: Vec<Part> = (0..8).map(tooth).collect();
    parts.push(Part::Disc([0.0, 0.0], 0.72));
    without(union(parts), [Part::Disc([0.0, 0.0], 0.3)])
}

fn key() -> Outline {
    let parts = [
        Part::Disc([-0.6, 0.0], 0.48),
        rectangle(-0.3, -0.14, 1.05, 0.14),
        rectangle(0.42, 0.0, 0.64, 0.48),
        rectangle(0.83, 0.0, 1.05, 0.48),
    ];
    without(union(parts), [Part::Disc([-0.6, 0.0], 0.2)])
}

fn tree() -> Outline {
    union([
        polygon([[0.0, -1.05], [0.5, -0.35], [-0.5, -0.35]]),
        polygon([[0.0, -0.7], [0.68, 0.15], [-0.68, 0.15]]),
        polygon([[0.0, -0.25], [0.82, 0.62], [-0.82, 0.62]]),
        rectangle(-0.16, 0.5, 0.16, 1.0),
    ])
}

fn crown() -> Outline {
    union([polygon([
        [-0.95, -0.6],
        [-0.46, 0.0],
        [0.0, -0.8],
        [0.46, 0.0],
        [0.95, -0.6],
        [0.75, 0.7],
        [-0.75, 0.7],
    ])])
}

fn fish() -> Outline {
    union([
        lens([-1.0, 0.0], [0.62, 0.0], 0.52),
        polygon([[0.38, 0.0], [1.02, -0.55], [0.86, 0.0], [1.02, 0.55]]),
    ])
}

fn hourglass() -> Outline {
    union([polygon([
        [-0.72, -0.92],
        [0.72, -0.92],
        [0.08, 0.0],
        [0.72, 0.92],
        [-0.72, 0.92],
        [-0.08, 0.0],
    ])])
}

fn house() -> Outline {
    let parts = [
        polygon([[0.0, -1.0], [1.0, -0.12], [-1.0, -0.12]]),
        rectangle(-0.72, -0.2, 0.72, 0.85),
    ];
    without(union(parts), [rectangle(-0.2, 0.25, 0.2, 0.9)])
}

fn leaf() -> Outline {
    let stalk = polygon([[0.45, 0.32], [0.98, 0.88], [0.86, 0.98], [0.32, 0.45]]);
    union([lens([-0.9, -0.9], [0.62, 0.62], 0.46), stalk])
}

fn mushroom() -> Outline {
    let cap = curve(24, |u| {
        let t = u * TAU;
        [0.95 * libm::cosf(t), (0.95 * libm::sinf(t)).min(0.12)]
    });
    union([
        cap,
        polygon([[-0.24, 0.05], [0.24, 0.05], [0.34, 0.92], [-0.34, 0.92]]),
    ])
}

/// Returns a lens of two parabolic arcs from `a` to `b`; `half_width` is its half width in the
/// middle.
fn lens(a: Point, b: Point, half_width: f32) -> Part {
    let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    let length = (dx * dx + dy * dy).sqrt();
    curve(24, |u| {
        let (t, side) = if u < 0.5 {
            (2.0 * u, half_width)
        } else {
            (2.0 - 2.0 * u, -half_width)
        };
        let offset = 4.0 * t * (1.0 - t) * side / length;
        [a[0] + t * dx - offset * dy, a[1] + t * dy + offset * dx]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_about_the_size_of_the_unit_disc() {
        for shape in &SHAPES {
            let outline = shape.outline();
            let mut inside = 0;
            for i in 0..900 {
                let p = [(i % 30) as f32 / 10.0 - 1.45, (i / 30) as f32 / 10.0 - 1.45];
                if outline.distance(p) < 0.0 {
                    inside += 1;
                    assert!(
                        p[0].abs() < 1.1 && p[1].abs() < 1.15,
                        "{} at {p:?}",
                        shape.name
                    );
                }
            }
            assert!((60..260).contains(&inside), "{}: {inside}", shape.name);
        }
    }

    #[test]
    fn names_are_unique_and_sorted_within_their_role() {
        for role in [Role::Id, Role::Other, Role::Near] {
            let names: Vec<&str> = Shape::with_role(role)
                .map(|(_, shape)| shape.name)
                .collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        }
        assert!(
            SHAPES
                .iter()
                .all(|a| SHAPES.iter().filter(|b| a.name == b.name).count() == 1)
        );
    }
}
