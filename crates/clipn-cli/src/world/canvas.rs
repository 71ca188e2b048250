use super::colour::{Colour, mix};
use super::geometry::Point;

/// A square picture being drawn, colours from 0 to 1.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    side: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// A canvas of `side` x `side` pixels, each coloured by its centre.
    pub(super) fn fill(side: usize, mut colour: impl FnMut(Point) -> Colour) -> Self {
        let pixels = (0..side * side).map(|i| colour(centre(i, side))).collect();
        Self { side, pixels }
    }

    /// Paints over pixels: `paint` gives a colour and the share of the pixel that takes it.
    pub(super) fn paint(&mut self, mut paint: impl FnMut(Point) -> (Colour, f32)) {
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            let (colour, share) = paint(centre(i, self.side));
            *pixel = mix(*pixel, colour, share);
        }
    }

    /// The pixels as bytes, `[side, side, 3]`.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        self.pixels.into_iter().flatten().map(byte).collect()
    }
}

fn centre(index: usize, side: usize) -> Point {
    [(index % side) as f32 + 0.5, (index / side) as f32 + 0.5]
}
