use super::geometry::Point;

/// Strokes, each from point to point of a 3 x 5 grid with letters from the top left, row by row:
/// `a b c / d e f / g h i / j k l / m n o`.
type Strokes = &'static [&'static str];

/// Digits and letters. None resembles a shape of the world.
pub(super) static GLYPHS: [Strokes; 24] = [
    &["dbn", "mo"],
    &["acigmo"],
    &["acom", "gi"],
    &["agi", "co"],
    &["cagiom"],
    &["camoig"],
    &["acn"],
    &["acoma", "gi"],
    &["igacom"],
    &["mbo", "jl"],
    &["camo", "gi"],
    &["cam", "gh"],
    &["am", "co", "gi"],
    &["am", "cgo"],
    &["maeco"],
    &["maoc"],
    &["macigo"],
    &["macig"],
    &["amhoc"],
    &["acmo"],
    &["ahc", "hn"],
    &["amoc"],
    &["ac", "bn"],
    &["amo"],
];

/// Converts the strokes of a glyph to polylines, about the size of the unit disc.
pub(super) fn polylines(strokes: Strokes) -> Vec<Vec<Point>> {
    let point = |letter: u8| {
        let cell = letter.saturating_sub(b'a');
        [
            f32::from(cell % 3) * 0.6 - 0.6,
            f32::from(cell / 3) * 0.5 - 1.0,
        ]
    };
    strokes
        .iter()
        .map(|stroke| stroke.bytes().map(point).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_stay_on_the_grid() {
        for glyph in &GLYPHS {
            assert!(
                glyph
                    .iter()
                    .all(|s| s.len() > 1 && s.bytes().all(|b| (b'a'..=b'o').contains(&b)))
            );
            let points = polylines(glyph).concat();
            assert!(
                points
                    .iter()
                    .all(|p| p[0].abs() <= 0.61 && p[1].abs() <= 1.01)
            );
        }
    }
}
