use super::color::{Color, mix};
use super::geometry::Point;

/// Square image to draw on, with colors from 0 to 1.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    side: usize,
    pixels: Vec<Color>,
}

impl Canvas {
    /// Creates a canvas of `side` x `side` pixels; `color` returns the color at a pixel center.
    pub(super) fn fill(side: usize, mut color: impl FnMut(Point) -> Color) -> Self {
        let pixels = (0..side * side)
            .map(|i| color(pixel_center(i, side)))
            .collect();
        Self { side, pixels }
    }

    /// Paints over the canvas: `paint` returns a color and its opacity (0 to 1) at a pixel center.
    pub(super) fn paint(&mut self, mut paint: impl FnMut(Point) -> (Color, f32)) {
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            let (color, opacity) = paint(pixel_center(i, self.side));
            *pixel = mix(*pixel, color, opacity);
        }
    }

    /// Converts the canvas into bytes, `[side, side, 3]`.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        self.pixels.into_iter().flatten().map(byte).collect()
    }
}

/// Returns the center of the pixel at `index`.
fn pixel_center(index: usize, side: usize) -> Point {
    [(index % side) as f32 + 0.5, (index / side) as f32 + 0.5]
}
