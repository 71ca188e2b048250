use super::geometry::{Point, coverage};

/// Pattern of a surface with two colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texture {
    Plain,
    Striped,
    Dotted,
    Checkered,
}

impl Texture {
    pub(super) const ALL: [Self; 4] = [Self::Plain, Self::Striped, Self::Dotted, Self::Checkered];

    /// Name of the pattern in captions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Striped => "striped",
            Self::Dotted => "dotted",
            Self::Checkered => "chequered",
        }
    }

    /// Returns the fraction of the second color at a point, 0 to 1; `period` is that of the
    /// pattern, in the unit of the point.
    pub(super) fn share(self, [x, y]: Point, period: f32) -> f32 {
        match self {
            Self::Plain => 0.0,
            Self::Striped => coverage(to_edge(x, period)),
            Self::Dotted => {
                let offset = |value: f32| (fract(value / period) - 0.5) * period;
                let (dx, dy) = (offset(x), offset(y));
                coverage((dx * dx + dy * dy).sqrt() - 0.31 * period)
            }
            Self::Checkered => {
                let side = |value: f32| (2.0 * to_edge(value, period * 1.3)).clamp(-1.0, 1.0);
                0.5 - 0.5 * side(x) * side(y)
            }
        }
    }
}

/// Returns the signed distance from the edge of the nearest stripe; stripes are half a period wide.
fn to_edge(value: f32, period: f32) -> f32 {
    ((fract(value / period) - 0.5).abs() - 0.25) * period
}

/// Returns the fractional part, in [0, 1) for negative values too.
fn fract(value: f32) -> f32 {
    value - value.floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_both_colors_and_plain_has_one() {
        for texture in Texture::ALL {
            let fractions: Vec<f32> = (0..900)
                .map(|i| texture.share([(i % 30) as f32, (i / 30) as f32], 6.0))
                .collect();
            assert!(
                fractions
                    .iter()
                    .all(|fraction| (0.0..=1.0).contains(fraction))
            );
            let mean = fractions.iter().sum::<f32>() / 900.0;
            let expected = if texture == Texture::Plain {
                0.0..=0.0
            } else {
                0.25..=0.6
            };
            assert!(expected.contains(&mean), "{texture:?}: {mean}");
        }
    }
}
