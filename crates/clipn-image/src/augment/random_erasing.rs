//! Random erasing.
use super::crop::try_random_box;
use crate::error::ImageError;
use crate::rgb::RgbImage;

/// Minimum and maximum fraction of the area to erase, from torchvision's `RandomErasing`.
const SCALE: [f64; 2] = [0.02, 0.33];

/// Minimum and maximum width / height of the erased box, from torchvision's `RandomErasing`.
const RATIO: [f64; 2] = [0.3, 3.3];

/// CLIP's mean color, which normalizes to about 0.
const MEAN: [u8; 3] = [122, 116, 104];

/// Fills a random box of 2 to 33 % of the area with CLIP's mean color; returns the image unchanged
/// if none of ten boxes fits.
pub(super) fn random_erasing(
    image: RgbImage,
    uniform: &mut dyn FnMut() -> f64,
) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width(), image.height());
    let Some(erased_box) = try_random_box(width, height, SCALE, RATIO, uniform) else {
        return Ok(image);
    };
    let mut pixels = image.into_pixels();
    let rows = pixels
        .chunks_exact_mut(width as usize * 3)
        .skip(erased_box.top as usize);
    for row in rows.take(erased_box.height as usize) {
        let first = erased_box.left as usize * 3;
        row[first..first + erased_box.width as usize * 3]
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
    fn fills_the_box_with_the_mean_and_leaves_the_rest() {
        let image = RgbImage::new(10, 10, vec![7; 300]).unwrap();
        // Area 0.175 of 100 and aspect ratio about 1: a side of 4, at row and column 3.
        let mut draws = [0.5, 0.5, 0.5, 0.5].into_iter();
        let erased = random_erasing(image, &mut || draws.next().unwrap()).unwrap();
        for (index, pixel) in erased.pixels().as_chunks::<3>().0.iter().enumerate() {
            let inside = |position: usize| (3..7).contains(&position);
            let expected = if inside(index / 10) && inside(index % 10) {
                MEAN
            } else {
                [7; 3]
            };
            assert_eq!(*pixel, expected, "pixel {index}");
        }
    }

    #[test]
    fn leaves_an_image_unchanged_if_no_box_fits() {
        let image = RgbImage::new(1, 1, vec![7; 3]).unwrap();
        assert_eq!(random_erasing(image.clone(), &mut || 0.1).unwrap(), image);
    }
}
