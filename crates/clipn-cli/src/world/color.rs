use super::random::Random;

/// Red, green and blue, each from 0 to 1.
pub(super) type Color = [f32; 3];

/// Color with its name in captions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) rgb: Color,
}

/// Colors of shapes, all darker than any background.
///
/// A tower without pretraining learns to detect an edge most easily if its contrast always has the
/// same sign.
pub(super) const SHAPE_COLORS: [Named; 8] = [
    Named {
        name: "red",
        rgb: [0.84, 0.12, 0.15],
    },
    Named {
        name: "orange",
        rgb: [0.93, 0.45, 0.05],
    },
    Named {
        name: "green",
        rgb: [0.12, 0.56, 0.24],
    },
    Named {
        name: "blue",
        rgb: [0.12, 0.36, 0.84],
    },
    Named {
        name: "purple",
        rgb: [0.50, 0.20, 0.66],
    },
    Named {
        name: "pink",
        rgb: [0.91, 0.29, 0.56],
    },
    Named {
        name: "brown",
        rgb: [0.45, 0.27, 0.15],
    },
    Named {
        name: "black",
        rgb: [0.10, 0.10, 0.12],
    },
];

/// Colors of backgrounds.
pub(super) const BACKGROUND_COLORS: [Named; 6] = [
    Named {
        name: "white",
        rgb: [0.96, 0.96, 0.95],
    },
    Named {
        name: "grey",
        rgb: [0.80, 0.81, 0.82],
    },
    Named {
        name: "yellow",
        rgb: [0.98, 0.90, 0.55],
    },
    Named {
        name: "beige",
        rgb: [0.91, 0.84, 0.72],
    },
    Named {
        name: "mint",
        rgb: [0.74, 0.91, 0.80],
    },
    Named {
        name: "cream",
        rgb: [0.99, 0.95, 0.85],
    },
];

/// Blends linearly from `a` (`t` = 0) to `b` (`t` = 1).
pub(super) fn mix(a: Color, b: Color, t: f32) -> Color {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t)
}

/// Returns the perceived brightness of a color.
pub(super) fn luma([r, g, b]: Color) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Returns the second color of patterns: a darker shade, or a lighter one if `color` is nearly
/// black.
pub(super) fn shade(color: Color) -> Color {
    if luma(color) > 0.2 {
        mix(color, [0.0; 3], 0.45)
    } else {
        mix(color, [1.0; 3], 0.4)
    }
}

/// Whether two colors are easy to distinguish.
pub(super) fn contrasts(a: Color, b: Color) -> bool {
    let squared: f32 = [0, 1, 2]
        .map(|c| (a[c] - b[c]) * (a[c] - b[c]))
        .iter()
        .sum();
    squared.sqrt() > 0.4 && (luma(a) - luma(b)).abs() > 0.17
}

/// Varies a color randomly, by up to `amount` in brightness and 0.6 `amount` in each channel.
pub(super) fn vary(color: Color, amount: f32, random: &mut Random) -> Color {
    let brightness = random.range(-amount, amount);
    color.map(|value| (value + brightness + random.range(-amount, amount) * 0.6).clamp(0.0, 1.0))
}
