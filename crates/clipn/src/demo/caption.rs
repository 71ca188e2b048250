use super::picture::Picture;
use super::random::Random;

/// A sentence about a picture. The words are few, so that a small text tower learns them soon; the wordings vary as the
/// templates of CLIP do.
pub(super) fn caption(picture: &Picture, random: &mut Random) -> String {
    let thing = thing(picture, random);
    let a_thing = with_article(&thing);
    let place = picture.scene.words();
    let sentence = match random.below(12) {
        0 => a_thing,
        1 | 2 => format!("a photo of {a_thing}"),
        3 => format!("a picture of {a_thing}"),
        4 => format!("an image of {a_thing}"),
        5 => format!("a photo of the {thing}"),
        6 => format!("there is {a_thing} in the picture"),
        7 => format!("this is {a_thing}"),
        8 => format!("a drawing of {a_thing}"),
        9 => format!("{a_thing} {place}"),
        10 => format!("a photo of {a_thing} {place}"),
        _ => format!("a picture of {a_thing} {place}"),
    };
    if random.chance(0.5) { sentence + "." } else { sentence }
}

/// The shape with some of its properties: `small striped red star`.
fn thing(picture: &Picture, random: &mut Random) -> String {
    let mut words = Vec::new();
    if random.chance(0.3) {
        words.push(picture.size);
    }
    if random.chance(0.35) {
        words.push(picture.texture.name());
    }
    if random.chance(0.5) {
        words.push(picture.paint.name);
    }
    words.push(picture.shape.name);
    words.join(" ")
}

fn with_article(thing: &str) -> String {
    let article = if thing.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {thing}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::shape::SHAPES;

    #[test]
    fn captions_vary_in_few_words_and_name_the_shape() {
        let mut sentences = BTreeSet::new();
        let mut words = BTreeSet::new();
        for index in 0..4000 {
            let mut random = Random::of_picture(3, 1, index as u64);
            let shape = &SHAPES[index % 16];
            let picture = Picture::draw_lots(shape, random.clone());
            let caption = caption(&picture, &mut random);
            assert!(caption.contains(shape.name) && !caption.contains("  "), "{caption}");
            words.extend(caption.trim_end_matches('.').split(' ').map(str::to_owned));
            sentences.insert(caption);
        }
        assert!(sentences.len() > 1500, "{}", sentences.len());
        assert!(words.len() < 64, "{}: {words:?}", words.len());
    }

    #[test]
    fn articles_agree() {
        assert_eq!(with_article("orange star"), "an orange star");
        assert_eq!(with_article("star"), "a star");
    }
}
