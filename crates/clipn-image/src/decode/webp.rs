//! WebP decoding with the `image-webp` crate; only the first frame of an animation.
use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{DecodeOptions, check_size, corrupt, from_io, samples};
use crate::error::ImageError;
use crate::rgb::RgbImage;

const NAME: &str = "WebP";

/// Offset of the first chunk: after `RIFF`, the length and `WEBP`.
const FIRST_CHUNK: usize = 12;

/// Size of a chunk header: FourCC and length.
const CHUNK_HEADER: usize = 8;

/// Size of the `ANMF` fields before the chunks of a frame.
const ANMF_FIELDS: usize = 16;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(convert_error)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, options)?;
    check_frame_sizes(bytes, (width, height))?;
    let size = decoder.output_buffer_size();
    let mut buffer = vec![0; size.ok_or_else(|| corrupt(NAME, "pixels do not fit into memory"))?];
    decoder.read_image(&mut buffer).map_err(convert_error)?;
    let pixels = if decoder.has_alpha() {
        samples::first_three_channels(buffer, 4)
    } else {
        buffer
    };
    RgbImage::new(width, height, pixels)
}

/// Converts an error of the `image-webp` crate.
fn convert_error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) => from_io(NAME, &error),
        error => corrupt(NAME, error),
    }
}

/// Rejects a frame that is larger than the canvas.
///
/// The decoder allocates memory for the size of a frame, whatever the size of its canvas.
fn check_frame_sizes(bytes: &[u8], canvas: (u32, u32)) -> Result<(), ImageError> {
    let mut offset = FIRST_CHUNK;
    while let Some((header, rest)) = bytes
        .get(offset..)
        .and_then(<[u8]>::split_first_chunk::<CHUNK_HEADER>)
    {
        let [name @ .., _, _, _, _] = header;
        if let Some((width, height)) = frame_size(name, rest)
            && (width > canvas.0 || height > canvas.1)
        {
            let (canvas_width, canvas_height) = canvas;
            return Err(corrupt(
                NAME,
                format!("{width}x{height} frame on a {canvas_width}x{canvas_height} canvas"),
            ));
        }
        let length = number(header, 4, 4).unwrap_or_default() as usize;
        let step = if name == b"ANMF" {
            ANMF_FIELDS
        } else {
            length.saturating_add(length & 1)
        };
        offset = offset.saturating_add(CHUNK_HEADER).saturating_add(step);
    }
    Ok(())
}

/// Returns the width and height of the frame in a chunk; `None` for chunks without a frame.
fn frame_size(name: &[u8], chunk: &[u8]) -> Option<(u32, u32)> {
    match name {
        b"VP8 " => Some((number(chunk, 6, 2)? & 0x3fff, number(chunk, 8, 2)? & 0x3fff)),
        b"VP8L" => {
            let bits = number(chunk, 1, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"ANMF" => Some((number(chunk, 6, 3)? + 1, number(chunk, 9, 3)? + 1)),
        _ => None,
    }
}

/// Reads a little-endian number.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + length)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)),
    )
}
