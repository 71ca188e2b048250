use super::random::Random;

/// Red, green and blue from 0 to 1.
pub(super) type Colour = [f32; 3];

/// A colour with the word for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) rgb: Colour,
}

/// The colours of things.
pub(super) const PAINTS: [Named; 9] = [
    Named { name: "red", rgb: [0.86, 0.15, 0.17] },
    Named { name: "orange", rgb: [0.97, 0.55, 0.10] },
    Named { name: "yellow", rgb: [0.98, 0.86, 0.22] },
    Named { name: "green", rgb: [0.18, 0.64, 0.28] },
    Named { name: "blue", rgb: [0.15, 0.40, 0.86] },
    Named { name: "purple", rgb: [0.53, 0.23, 0.67] },
    Named { name: "pink", rgb: [0.97, 0.54, 0.72] },
    Named { name: "white", rgb: [0.97, 0.97, 0.95] },
    Named { name: "black", rgb: [0.08, 0.08, 0.09] },
];

/// The colours behind them.
pub(super) const BACKDROPS: [Named; 6] = [
    Named { name: "white", rgb: [0.93, 0.93, 0.91] },
    Named { name: "grey", rgb: [0.60, 0.61, 0.63] },
    Named { name: "black", rgb: [0.12, 0.12, 0.14] },
    Named { name: "tan", rgb: [0.85, 0.76, 0.61] },
    Named { name: "navy", rgb: [0.12, 0.17, 0.37] },
    Named { name: "teal", rgb: [0.09, 0.42, 0.42] },
];

/// `share` of `b` over `a`.
pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * share)
}

/// The eye's brightness of a colour.
pub(super) fn luma([r, g, b]: Colour) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// A darker shade of a light colour, a lighter one of a dark colour: the second colour of patterns.
pub(super) fn shade(colour: Colour) -> Colour {
    if luma(colour) > 0.55 { mix(colour, [0.0; 3], 0.45) } else { mix(colour, [1.0; 3], 0.55) }
}

/// Whether two colours are told apart at a glance.
pub(super) fn contrasts(a: Colour, b: Colour) -> bool {
    let squared: f32 = [0, 1, 2].map(|c| (a[c] - b[c]) * (a[c] - b[c])).iter().sum();
    squared.sqrt() > 0.42 && (luma(a) - luma(b)).abs() > 0.12
}

/// The colour a little off, the way that no two paints are the same.
pub(super) fn vary(colour: Colour, amount: f32, random: &mut Random) -> Colour {
    let brightness = random.range(-amount, amount);
    colour.map(|value| (value + brightness + random.range(-amount, amount) * 0.6).clamp(0.0, 1.0))
}
