use super::picture::Picture;
use super::random::Random;

/// A sentence about a picture of a shape. The words are few, so that a small text tower learns them soon; the wordings
/// vary as the templates of CLIP do.
pub(super) fn of_shape(picture: &Picture, random: &mut Random) -> String {
    let thing = thing(picture, random);
    let place = random.chance(0.25).then(|| picture.scene.words());
    sentence(&thing, place.as_deref(), random)
}

/// A sentence about a picture without a shape, whose kind is all that is said.
pub(super) fn of_kind(kind: &str, random: &mut Random) -> String {
    sentence(kind, None, random)
}

fn sentence(thing: &str, place: Option<&str>, random: &mut Random) -> String {
    let a_thing = with_article(thing);
    let mut sentence = match random.below(9) {
        0 | 1 => a_thing,
        2 | 3 => format!("a photo of {a_thing}"),
        4 => format!("a picture of {a_thing}"),
        5 => format!("an image of {a_thing}"),
        6 => format!("a photo of the {thing}"),
        7 => format!("this is {a_thing}"),
        _ => format!("a drawing of {a_thing}"),
    };
    if let Some(place) = place {
        sentence = format!("{sentence} {place}");
    }
    if random.chance(0.5) {
        sentence + "."
    } else {
        sentence
    }
}

/// The shape with some of its properties: `small striped red star`.
fn thing(picture: &Picture, random: &mut Random) -> String {
    let mut words = Vec::new();
    if random.chance(0.15) {
        words.push(picture.size);
    }
    if random.chance(0.2) {
        words.push(picture.texture.name());
    }
    if random.chance(0.35) {
        words.push(picture.paint.name);
    }
    words.push(picture.shape.name);
    words.join(" ")
}

fn with_article(thing: &str) -> String {
    let article = if thing.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
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
            let caption = of_shape(&picture, &mut random);
            assert!(
                caption.contains(shape.name) && !caption.contains("  "),
                "{caption}"
            );
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
