//! GIF decoding with the `gif` crate: the first frame on its canvas.
//!
//! As in Pillow, the canvas around the frame has the color of the transparent index, or of index 0
//! if there is none. Transparent pixels keep the palette color of their index.
use gif::{ColorOutput, DecodeOptions as GifOptions, DecodingError, MemoryLimit};

use super::{DecodeOptions, check_size, corrupt, from_io, samples, truncated};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "GIF";

/// End of the data of an image (an empty sub-block) and of the file.
const END: [u8; 2] = [0, 0x3B];

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    match decode_closed(bytes, options) {
        Err(ImageError::Truncated { .. }) if ends_between_sub_blocks(bytes) => {
            // Whatever the decoder misses now was cut off.
            decode_closed(&[bytes, &END].concat(), options).map_err(|_| truncated(NAME))
        }
        decoded => decoded,
    }
}

/// Whether the file ends after a whole sub-block of the first image, so that only the marks of the
/// end may be missing.
fn ends_between_sub_blocks(bytes: &[u8]) -> bool {
    let table_size = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    // Header, screen size, flags, background, aspect ratio.
    let Some(flags) = bytes.get(10) else {
        return false;
    };
    let mut position = 13 + table_size(*flags);
    loop {
        let is_image = match bytes.get(position) {
            Some(b'!') => false,
            Some(b',') => true,
            _ => return false,
        };
        // Extension: introducer and label. Image: separator, frame, flags, table, code size.
        position += if is_image {
            let Some(flags) = bytes.get(position + 9) else {
                return false;
            };
            11 + table_size(*flags)
        } else {
            2
        };
        while let Some(length) = bytes.get(position).filter(|length| **length != 0) {
            position += 1 + usize::from(*length);
        }
        if is_image || position >= bytes.len() {
            return is_image && position == bytes.len();
        }
        position += 1;
    }
}

fn decode_closed(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
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
        DecodingError::UnexpectedEof => truncated(NAME),
        DecodingError::Io(error) => from_io(NAME, &error),
        error => corrupt(NAME, error),
    }
}
