//! A random box of a picture, erased.
use super::crop::box_that_fits;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Least and greatest share of the area, and width / height, of what is erased: torchvision's `RandomErasing`.
const SCALE: [f64; 2] = [0.02, 0.33];
const RATIO: [f64; 2] = [0.3, 3.3];

/// CLIP's mean colour, which is about 0 once normalised.
const MEAN: [u8; 3] = [122, 116, 104];

/// Fills a random box of 2 to 33 % of the area with CLIP's mean colour.
pub(super) fn erase(
    image: RgbImage,
    draw: &mut dyn FnMut() -> f64,
) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width(), image.height());
    let Some(taken) = box_that_fits(width, height, SCALE, RATIO, draw) else {
        return Ok(image);
    };
    let mut pixels = image.into_pixels();
    let rows = pixels
        .chunks_exact_mut(width as usize * 3)
        .skip(taken.top as usize);
    for row in rows.take(taken.height as usize) {
        let first = taken.left as usize * 3;
        row[first..first + taken.width as usize * 3]
            .as_chunks_mut::<3>()
            .0
            .fill(MEAN);
    }
    RgbImage::new(width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_becomes_the_mean_and_the_rest_stays() {
        let image = RgbImage::new(10, 10, vec![7; 300]).unwrap();
        // Area 0.175 of 100 and ratio about 1: 4 a side, at row and column 3.
        let mut draws = [0.5, 0.5, 0.5, 0.5].into_iter();
        let erased = erase(image, &mut || draws.next().unwrap()).unwrap();
        for (at, pixel) in erased.pixels().as_chunks::<3>().0.iter().enumerate() {
            let inside = |place: usize| (3..7).contains(&place);
            let expected = if inside(at / 10) && inside(at % 10) {
                MEAN
            } else {
                [7; 3]
            };
            assert_eq!(*pixel, expected, "pixel {at}");
        }
    }

    #[test]
    fn a_picture_too_small_for_any_box_stays() {
        let image = RgbImage::new(1, 1, vec![7; 3]).unwrap();
        assert_eq!(erase(image.clone(), &mut || 0.1).unwrap(), image);
    }
}
