//! GIF decoding with the `gif` crate: the first frame on its canvas.
//!
//! As in Pillow, the canvas around the frame has the color of the transparent index, or of index 0
//! if there is none. Transparent pixels keep the palette color of their index.
use gif::{ColorOutput, DecodeOptions as GifOptions, DecodingError, MemoryLimit};

use super::{DecodeOptions, check_size, corrupt, from_io, samples};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "GIF";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let mut settings = GifOptions::new();
    settings.set_color_output(ColorOutput::Indexed);
    settings.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = settings.read_info(bytes).map_err(convert_error)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder
        .next_frame_info()
        .map_err(convert_error)?
        .ok_or_else(|| corrupt(NAME, "no frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (columns, rows) = (usize::from(frame.width), usize::from(frame.height));
    let width = screen.0.max((left + columns) as u32);
    let height = screen.1.max((top + rows) as u32);
    check_size(width, height, options)?;
    let palette = frame.palette.clone().or(global).unwrap_or_default();
    let background = frame.transparent.unwrap_or(0);

    let mut indices = vec![0; columns * rows];
    if !indices.is_empty() {
        decoder
            .read_into_buffer(&mut indices)
            .map_err(convert_error)?;
    }
    let stride = width as usize;
    if (left, top, columns, rows) != (0, 0, stride, height as usize) {
        let mut canvas = vec![background; stride * height as usize];
        for (line, row) in canvas
            .chunks_exact_mut(stride)
            .skip(top)
            .zip(indices.chunks_exact(columns.max(1)))
        {
            line[left..left + columns].copy_from_slice(row);
        }
        indices = canvas;
    }
    RgbImage::new(width, height, samples::palette_to_rgb(&indices, &palette))
}

fn convert_error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::Io(error) => from_io(NAME, &error),
        error => corrupt(NAME, error),
    }
}
