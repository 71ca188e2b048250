use super::geometry::Point;

/// A stroke from point to point of a grid of 3 x 5, its places numbered from the top left, row by row:
/// `a b c / d e f / g h i / j k l / m n o`.
type Strokes = &'static [&'static str];

/// Digits and letters that are none of the world's shapes.
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

/// The strokes of a glyph as chains of points, about the unit disc in size.
pub(super) fn chains(strokes: Strokes) -> Vec<Vec<Point>> {
    let point = |letter: u8| {
        let place = letter.saturating_sub(b'a');
        [
            f32::from(place % 3) * 0.6 - 0.6,
            f32::from(place / 3) * 0.5 - 1.0,
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
            let points = chains(glyph).concat();
            assert!(
                points
                    .iter()
                    .all(|p| p[0].abs() <= 0.61 && p[1].abs() <= 1.01)
            );
        }
    }
}
