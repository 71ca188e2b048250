//! Maps over example images: where the class, its "no" and the negatives are seen.

use std::fmt::Write as _;

use clipn_detect::detector::Evidence;

/// Returns a choice of maps that lie over the frame of an image, and the maps; both empty without
/// evidence. `number` is unique on the page, `size` the width and height of the image, and `seen` the part of
/// its short side that the model sees.
pub(super) fn over_image(
    number: usize,
    size: [u32; 2],
    seen: f64,
    evidence: Option<&Evidence>,
) -> (String, String) {
    let Some(evidence) = evidence else {
        return (String::new(), String::new());
    };
    let named = [
        ("yes", Some(&evidence.yes), "class"),
        ("no", evidence.no.as_ref(), "no"),
        ("other", evidence.negatives.as_ref(), "other"),
    ];
    // The model sees a square in the center of the image, which the frame contains as a whole.
    let [width, height] = size.map(f64::from);
    let inset = 50.0 * (1.0 - seen * width.min(height) / width.max(height).max(1.0));
    let mut choice = radio(number, "none", "image", true);
    let mut maps = String::new();
    for (kind, values, name) in named {
        let Some(values) = values else { continue };
        choice += &radio(number, kind, name, false);
        let _ = write!(
            maps,
            "<svg class=\"map {kind}\" style=\"inset:{inset:.1}%\" viewBox=\"0 0 {} {}\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\">{}</svg>",
            evidence.columns,
            evidence.rows,
            squares(values, evidence.columns)
        );
    }
    (choice, maps)
}

fn radio(number: usize, kind: &str, name: &str, is_chosen: bool) -> String {
    let checked = if is_chosen { " checked" } else { "" };
    format!(
        "<label class=\"{kind}\"><input type=\"radio\" name=\"map-{number}\"{checked}> {name}</label>"
    )
}

/// Squares that are clear where the value is lowest in this image, and opaque where it is highest.
fn squares(values: &[f32], columns: usize) -> String {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    let mut svg = String::new();
    for (index, value) in values.iter().enumerate() {
        let share = if range > 0.0 {
            (value - low) / range
        } else {
            0.0
        };
        let opacity = 0.75 * share;
        if opacity >= 0.005 {
            let (x, y) = (index % columns.max(1), index / columns.max(1));
            let _ = write!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"1.02\" height=\"1.02\" opacity=\"{opacity:.2}\"/>"
            );
        }
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_patch_is_the_most_opaque_and_the_lowest_is_clear() {
        assert_eq!(
            squares(&[0.0, 1.0, 0.4], 2),
            "<rect x=\"1\" y=\"0\" width=\"1.02\" height=\"1.02\" opacity=\"0.75\"/>\
             <rect x=\"0\" y=\"1\" width=\"1.02\" height=\"1.02\" opacity=\"0.30\"/>"
        );
        assert_eq!(squares(&[0.5, 0.5], 2), "");
    }

    #[test]
    fn maps_cover_the_square_in_the_center() {
        let json = r#"{"class": 0, "label": "a<b", "rows": 1, "columns": 2, "yes": [0.1, 0.2],
            "no": [0.3, 0.1], "negatives": null}"#;
        let evidence: Evidence = serde_json::from_str(json).unwrap();
        let (choice, maps) = over_image(3, [200, 100], 1.0, Some(&evidence));
        assert!(maps.contains("inset:25.0%"), "{maps}");
        let (_, smaller) = over_image(3, [200, 100], 224.0 / 256.0, Some(&evidence));
        assert!(smaller.contains("inset:28.1%"), "{smaller}");
        assert_eq!(maps.matches("<svg").count(), 2);
        assert_eq!(choice.matches("name=\"map-3\"").count(), 3, "{choice}");
        assert_eq!(over_image(3, [200, 100], 1.0, None), Default::default());
    }
}
