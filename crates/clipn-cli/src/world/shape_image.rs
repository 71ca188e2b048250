use super::canvas::Canvas;
use super::color::{Color, Named, SHAPE_COLORS, contrasts, mix, shade, vary};
use super::geometry::{Placement, coverage};
use super::random::Random;
use super::scene::Scene;
use super::shape::Shape;
use super::texture::Texture;

/// Size words with the minimum and maximum scale, as fractions of the image side.
const SIZES: [(&str, f32, f32); 3] = [
    ("small", 0.29, 0.33),
    ("medium", 0.34, 0.38),
    ("large", 0.39, 0.43),
];

/// Maximum rotation in either direction, in radians; beyond it a square would look like a diamond.
const MAX_ROTATION: f32 = 0.25;

/// Image of one shape in front of a background.
#[derive(Debug)]
pub(super) struct ShapeImage {
    pub(super) shape: &'static Shape,
    pub(super) paint: Named,
    pub(super) texture: Texture,
    pub(super) size: &'static str,
    pub(super) scene: Scene,
    scale: f32,
    random: Random,
}

impl ShapeImage {
    /// Samples all properties but the shape.
    pub(super) fn sample(shape: &'static Shape, mut random: Random) -> Self {
        let (size, min_scale, max_scale) = random.choose(&SIZES);
        let scale = random.range(min_scale, max_scale);
        let texture = if random.chance(0.6) {
            Texture::Plain
        } else {
            random.choose(&Texture::ALL)
        };
        let scene = Scene::sample(&mut random);
        let has_contrast = |paint: &Named| {
            scene
                .colors()
                .iter()
                .all(|&color| contrasts(paint.rgb, color))
        };
        let mut paint = random.choose(&SHAPE_COLORS);
        // Every background contrasts with several paints, so this loop ends soon.
        while !has_contrast(&paint) {
            paint = random.choose(&SHAPE_COLORS);
        }
        Self {
            shape,
            paint,
            texture,
            size,
            scene,
            scale,
            random,
        }
    }

    /// Draws the image, `[side, side, 3]`.
    pub(super) fn draw(&self, side: usize) -> Vec<u8> {
        let mut random = self.random.clone();
        let mut canvas = self.scene.draw(side, &mut random);
        let (length, scale) = (side as f32, self.scale * side as f32);
        let max_shift = (length / 2.0 - scale * 1.02).max(0.0) * 0.7;
        let center = [0, 1].map(|_| length / 2.0 + random.range(-max_shift, max_shift));
        let placement = Placement::new(
            center,
            scale,
            random.range(-MAX_ROTATION, MAX_ROTATION),
            random.chance(0.5),
        );
        let first = vary(self.paint.rgb, 0.05, &mut random);
        let period = length * random.range(0.15, 0.21);
        let phase = [random.range(0.0, period), random.range(0.0, period)];
        let colors = [first, shade(first)];
        self.draw_shape(&mut canvas, placement, colors, period, phase);
        canvas.into_bytes()
    }

    /// Draws the shape with its texture.
    fn draw_shape(
        &self,
        canvas: &mut Canvas,
        placement: Placement,
        [first, second]: [Color; 2],
        period: f32,
        phase: [f32; 2],
    ) {
        let outline = self.shape.outline();
        let rim = mix(first, [0.0; 3], 0.35);
        let scale = placement.scale;
        canvas.paint(|pixel| {
            let [u, v] = placement.to_outline(pixel);
            if u.abs() > 1.4 || v.abs() > 1.4 {
                return (first, 0.0);
            }
            let distance = outline.distance([u, v]) * scale;
            let opacity = coverage(distance);
            if opacity == 0.0 {
                return (first, 0.0);
            }
            let pattern = self
                .texture
                .share([u * scale + phase[0], v * scale + phase[1]], period);
            let inner = mix(first, second, pattern);
            // A darker rim, as on a sticker, separates the shape from the background.
            (
                mix(inner, rim, 1.0 - coverage(distance + scale * 0.1)),
                opacity,
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_background_contrasts_with_several_paints() {
        for index in 0..2000 {
            let scene = Scene::sample(&mut Random::for_image(0, 0, index));
            let has_contrast = |paint: &&Named| {
                scene
                    .colors()
                    .iter()
                    .all(|&color| contrasts(paint.rgb, color))
            };
            assert!(
                SHAPE_COLORS.iter().filter(has_contrast).count() >= 3,
                "{scene:?}"
            );
        }
    }
}
