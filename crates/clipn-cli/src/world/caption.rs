use super::random::Random;
use super::shape_image::ShapeImage;

/// Generates a caption for an image of a shape.
///
/// The vocabulary is small, so that a small text tower learns it quickly; the wordings vary as
/// CLIP's templates do.
pub(super) fn of_shape(image: &ShapeImage, random: &mut Random) -> String {
    let thing = thing(image, random);
    let background = random.chance(0.25).then(|| image.scene.words());
    sentence(&thing, background.as_deref(), random)
}

/// Generates a caption for an image without a shape, which names only the kind of image.
pub(super) fn kind_caption(kind: &str, random: &mut Random) -> String {
    sentence(kind, None, random)
}

/// Generates a sentence about `thing` in front of `background`.
fn sentence(thing: &str, background: Option<&str>, random: &mut Random) -> String {
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
    if let Some(background) = background {
        sentence = format!("{sentence} {background}");
    }
    if random.chance(0.5) {
        sentence + "."
    } else {
        sentence
    }
}

/// Returns the shape with some of its properties, such as `small striped red star`.
fn thing(image: &ShapeImage, random: &mut Random) -> String {
    let mut words = Vec::new();
    if random.chance(0.15) {
        words.push(image.size);
    }
    if random.chance(0.2) {
        words.push(image.texture.name());
    }
    if random.chance(0.35) {
        words.push(image.paint.name);
    }
    words.push(image.shape.name);
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

    use super::super::shape::SHAPES;
    use super::*;

    #[test]
    fn captions_vary_with_few_words_and_name_the_shape() {
        let mut sentences = BTreeSet::new();
        let mut words = BTreeSet::new();
        for index in 0..4000 {
            let mut random = Random::for_image(3, 1, index as u64);
            let shape = &SHAPES[index % 16];
            let image = ShapeImage::sample(shape, random.clone());
            let caption = of_shape(&image, &mut random);
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
    fn articles_match_the_next_word() {
        assert_eq!(with_article("orange star"), "an orange star");
        assert_eq!(with_article("star"), "a star");
    }
}
