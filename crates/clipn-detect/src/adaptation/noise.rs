use clipn_base::random::{RandomSource, Xoshiro256};

/// Number of images of noise that TANL begins with.
pub const NOISE_IMAGES: usize = 15;

/// Images of each kind of noise.
const PER_KIND: usize = 3;

/// Returns the images of noise that TANL begins with, `[15, 3, S, S]`: three each of Gaussian, uniform,
/// Poisson (mean 5), gamma (shape 2) and binary noise, scaled to 0 to 1 by their minimum and maximum.
/// They go to the image tower as they are, without the normalization of photographs, as in the published
/// code; the random numbers are our own.
pub fn noise_images(image_size: usize, seed: u64) -> Vec<f32> {
    let kinds: [fn(&mut Xoshiro256) -> f64; 5] = [
        Xoshiro256::normal,
        Xoshiro256::unit,
        poisson_of_mean_5,
        gamma_of_shape_2,
        |random| random.below(2) as f64,
    ];
    let length = 3 * image_size * image_size;
    let mut images = Vec::with_capacity(NOISE_IMAGES * length);
    for (kind, draw) in kinds.iter().enumerate() {
        for image in 0..PER_KIND {
            let mut random = Xoshiro256::keyed(seed, &[kind as u64, image as u64]);
            let values: Vec<f64> = (0..length).map(|_| draw(&mut random)).collect();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // Of a single pixel, all values can be equal.
            let range = (high - low).max(f64::MIN_POSITIVE);
            images.extend(values.iter().map(|value| ((value - low) / range) as f32));
        }
    }
    images
}

/// Number of factors from 0 to 1 until their product is below e^-5, less one (Knuth).
fn poisson_of_mean_5(random: &mut Xoshiro256) -> f64 {
    let limit = (-5.0_f64).exp();
    let (mut product, mut count) = (random.unit(), 0.0);
    while product > limit {
        product *= random.unit();
        count += 1.0;
    }
    count
}

/// Sum of two exponential variables.
fn gamma_of_shape_2(random: &mut Xoshiro256) -> f64 {
    // 1 - u is above 0.
    -((1.0 - random.unit()) * (1.0 - random.unit())).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_moments_of_its_kinds() {
        let mut random = Xoshiro256::new(1);
        let moments = |draw: fn(&mut Xoshiro256) -> f64, random: &mut Xoshiro256| {
            let n = 40_000;
            let values: Vec<f64> = (0..n).map(|_| draw(random)).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            (mean, square / n as f64)
        };
        // Standard errors of the mean are 0.011 and 0.007.
        let (mean, variance) = moments(poisson_of_mean_5, &mut random);
        assert!((mean - 5.0).abs() < 0.06 && (variance - 5.0).abs() < 0.2);
        let (mean, variance) = moments(gamma_of_shape_2, &mut random);
        assert!((mean - 2.0).abs() < 0.04 && (variance - 2.0).abs() < 0.15);
    }

    #[test]
    fn images_are_between_zero_and_one_and_differ() {
        let images = noise_images(8, 0);
        let each: Vec<&[f32]> = images.chunks_exact(3 * 8 * 8).collect();
        assert_eq!(each.len(), NOISE_IMAGES);
        for (index, image) in each.iter().enumerate() {
            assert!(image.contains(&0.0) && image.contains(&1.0), "{index}");
            assert!(image.iter().all(|v| (0.0..=1.0).contains(v)), "{index}");
            assert!(!each[..index].contains(image), "{index}");
        }
        assert!(each[12].iter().all(|v| *v == 0.0 || *v == 1.0));
        assert_eq!(images, noise_images(8, 0));
        assert_ne!(images, noise_images(8, 1));
    }
}
