//! The frames of a WebP, looked at before the decoder is: it takes memory for a frame's size, whatever its canvas.

use super::NAME;
use crate::decode::damaged;
use crate::error::ImageError;

/// Where chunks begin: after `RIFF`, the length and `WEBP`.
const FIRST: usize = 12;

/// The name and the length of a chunk.
const HEAD: usize = 8;

/// Fields of an animation's frame before the chunks in it.
const ANIMATION: usize = 16;

/// Refuses a frame that does not fit on the canvas.
pub(super) fn check(bytes: &[u8], canvas: (u32, u32)) -> Result<(), ImageError> {
    let mut at = FIRST;
    while let Some((head, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<HEAD>) {
        let [name @ .., _, _, _, _] = head;
        if let Some((width, height)) = size(name, rest)
            && (width > canvas.0 || height > canvas.1)
        {
            let (across, down) = canvas;
            return Err(damaged(
                NAME,
                format!("a frame of {width}x{height} on a canvas of {across}x{down}"),
            ));
        }
        let length = number(head, 4, 4).unwrap_or_default() as usize;
        let step = if name == b"ANMF" {
            ANIMATION
        } else {
            length.saturating_add(length & 1)
        };
        at = at.saturating_add(HEAD).saturating_add(step);
    }
    Ok(())
}

/// Width and height that a chunk says a frame has, where it says so.
fn size(name: &[u8], chunk: &[u8]) -> Option<(u32, u32)> {
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

/// A little-endian number.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let field = bytes.get(at..at + length)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)),
    )
}
