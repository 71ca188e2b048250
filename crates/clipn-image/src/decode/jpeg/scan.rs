//! Scans: decoding of entropy-coded DCT coefficients into components (T.81 Annexes F and G).
use pulp::{Simd, WithSimd};

use super::arithmetic::ArithmeticBlocks;
use super::component::Component;
use super::headers::{
    self, DAC, DHT, DQT, DRI, EOI, Frame, RST0, RST7, SOF0, SOI, SOS, SamplingFactors,
};
use super::huffman::HuffmanTable;
use super::huffman_blocks::HuffmanBlocks;
use super::smoothing::{self, ScanProgress};
use super::tables::{Conditioning, Tables};
use super::{NAME, corrupt, truncated};
use crate::error::ImageError;

/// Maximum number of scans, more than any real file has.
const MAX_SCANS: usize = 256;

/// Maximum number of blocks in all scans together, in units of the blocks of the image: each scan visits all
/// blocks of its components again. Encoders take 5 to 10.
const MAX_VISITS: usize = 16;

/// Number of blocks in all scans that is permitted for any image: [`MAX_VISITS`] times the blocks of 178
/// megapixels with full chroma.
const PERMITTED_BLOCKS: usize = 1 << 27;

/// Decodes all scans of the file into the samples of each component.
///
/// # Errors
/// [`ImageError::Truncated`] if the file has no end-of-image marker (`has_eoi`) and its scans do not
/// contain the whole image.
pub(super) fn decode(
    bytes: &[u8],
    frame: &Frame,
    has_eoi: bool,
) -> Result<Vec<Component>, ImageError> {
    let mut tables = Tables::default();
    let mut components: Option<Vec<Component>> = None;
    let (mut position, mut progress) = (2, ScanProgress::default());
    let mut limit: Option<ScanLimit> = None;
    let data_end = if has_eoi { 0 } else { data_end(bytes) };
    while let Some((marker, after)) = headers::next_marker(bytes, position) {
        position = after;
        if marker == EOI {
            break;
        }
        if !headers::has_segment(marker) {
            continue;
        }
        let Some(segment) = headers::segment(bytes, position) else {
            break;
        };
        position += 2 + segment.len();
        match marker {
            DQT => tables.read_quantization_tables(segment)?,
            DHT => tables.read_huffman_tables(segment)?,
            DAC => tables.read_conditioning(segment)?,
            DRI => {
                tables.restart_interval = segment
                    .first_chunk::<2>()
                    .map_or(0, |n| u16::from_be_bytes(*n).into());
            }
            SOS => {
                // All components in one scan: samples are computed block by block, and no coefficients
                // are stored.
                let is_single_scan = !frame.is_progressive()
                    && segment.first() == Some(&(frame.components.len() as u8));
                let keep_all = components.is_some() || !is_single_scan;
                let components =
                    components.get_or_insert_with(|| Component::allocate(frame, keep_all));
                let scan = Scan::read(segment, frame, components, &tables)?;
                let image_blocks = || components.iter().map(Component::blocks).sum();
                let limit = limit.get_or_insert_with(|| ScanLimit::new(image_blocks()));
                limit.add(scan.blocks(components))?;
                progress.scans = limit.scans;
                scan.record_precision(components, progress.scans);
                let end = scan.decode(components, bytes, position, !keep_all);
                if !has_eoi && !end.is_whole(data_end) {
                    return Err(truncated(NAME));
                }
                if !keep_all {
                    return Ok(std::mem::take(components));
                }
                // Without an end-of-image marker, the end of the image is where nothing is missing.
                if !has_eoi && components.iter().all(Component::is_complete) {
                    break;
                }
                progress.last_mcu_row = end.last_mcu_row;
                position = end.position;
            }
            _ => {}
        }
    }
    let mut components = components.unwrap_or_default();
    let is_complete = !components.is_empty() && components.iter().all(Component::is_complete);
    if !has_eoi && !is_complete {
        return Err(truncated(NAME));
    }
    if frame.is_progressive() {
        smoothing::smooth(&mut components, progress);
    }
    finish(components)
}

/// Computes the samples of all components from their coefficients.
fn finish(mut components: Vec<Component>) -> Result<Vec<Component>, ImageError> {
    if components.is_empty() {
        return Err(corrupt(NAME, "no scan"));
    }
    components.iter_mut().for_each(Component::inverse_dct);
    Ok(components)
}

/// Decoder of the blocks of a scan, by the method of its entropy coding.
pub(super) trait BlockDecoder {
    /// Decodes the next block, which is one of scan component `index`.
    fn decode_block(&mut self, scan: &Scan, index: usize, block: &mut [i16; 64]);

    /// Forgets everything about the blocks before a restart, and continues at `position`: after the
    /// expected restart marker if `is_expected`, else at a later marker. `None` if no marker
    /// follows: then the data ends with the file.
    fn restart(&mut self, position: Option<usize>, is_expected: bool);

    /// Whether the data ended too early, so that blocks are skipped until the next restart.
    fn is_exhausted(&self) -> bool;

    /// Whether libjpeg notices that the data ended too early.
    fn is_known_to_be_short(&self) -> bool {
        self.is_exhausted()
    }

    /// Position of the next byte to read: that of a marker once the data is exhausted.
    fn position(&self) -> usize;

    /// Position after the bytes that were used, which may be before those that were read.
    fn consumed(&self) -> usize;
}

/// How the entropy-coded segments of a scan ended.
struct ScanEnd {
    /// Position from which the next marker is searched.
    position: usize,
    /// Position after the last byte used.
    consumed: usize,
    /// Whether there was less data than blocks.
    is_exhausted: bool,
    /// Last MCU row with data.
    last_mcu_row: usize,
}

impl ScanEnd {
    /// Whether the scan has all its data, in a file whose data ends at `data_end`.
    fn is_whole(&self, data_end: usize) -> bool {
        !self.is_exhausted && self.consumed <= data_end
    }
}

/// Returns where the data of a file without an end-of-image marker ends. Zeros that fill up such a file decode
/// as blocks, too, but are no data.
fn data_end(bytes: &[u8]) -> usize {
    let filled = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let end = bytes.len() - filled;
    // The zero after a byte 0xFF is stuffed.
    end + usize::from(bytes[..end].ends_with(&[0xFF]))
}

/// Limits the work for the scans of a file.
struct ScanLimit {
    /// Number of scans so far.
    scans: usize,
    /// Blocks of the scans so far.
    blocks: usize,
    /// Maximum number of blocks.
    max_blocks: usize,
}

impl ScanLimit {
    /// Creates the limit of an image of that many blocks.
    fn new(image_blocks: usize) -> Self {
        Self {
            scans: 0,
            blocks: 0,
            max_blocks: image_blocks
                .saturating_mul(MAX_VISITS)
                .max(PERMITTED_BLOCKS),
        }
    }

    /// Adds a scan of that many blocks.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] if there are more scans or blocks than are permitted.
    fn add(&mut self, blocks: usize) -> Result<(), ImageError> {
        self.scans += 1;
        self.blocks = self.blocks.saturating_add(blocks);
        if self.scans > MAX_SCANS {
            return Err(corrupt(NAME, format!("more than {MAX_SCANS} scans")));
        }
        let Self {
            scans,
            blocks,
            max_blocks,
        } = self;
        if blocks > max_blocks {
            let reason = format!("{scans} scans of {blocks} blocks, expected at most {max_blocks}");
            return Err(corrupt(NAME, reason));
        }
        Ok(())
    }
}

/// Component of a scan with its tables.
pub(super) struct ScanComponent<'a> {
    /// Index of the component in the frame.
    frame_index: usize,
    /// DC Huffman table (Tdj).
    pub(super) dc: Option<&'a HuffmanTable>,
    /// AC Huffman table (Taj).
    pub(super) ac: Option<&'a HuffmanTable>,
    /// Destinations of the DC and AC tables, 0 to 15.
    pub(super) destinations: (usize, usize),
}

/// Coding procedure of a scan.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Procedure {
    /// Sequential DCT: all coefficients.
    Sequential,
    /// Progressive DCT: first scan of the DC coefficients.
    DcFirst,
    /// Progressive DCT: refinement of the DC coefficients by one bit.
    DcRefine,
    /// Progressive DCT: first scan of a band of AC coefficients.
    AcFirst,
    /// Progressive DCT: refinement of a band of AC coefficients by one bit.
    AcRefine,
}

/// Scan header (T.81 B.2.3) with the tables that it selects.
pub(super) struct Scan<'a> {
    pub(super) components: Vec<ScanComponent<'a>>,
    pub(super) procedure: Procedure,
    /// Spectral selection: first and last coefficient in zig-zag order (Ss, Se).
    pub(super) band: (usize, usize),
    /// Point transform (Al): number of low bits that later scans refine.
    pub(super) point_transform: u32,
    /// Conditioning of arithmetic coding; `None` for Huffman coding.
    conditioning: Option<&'a Conditioning>,
    /// Restart interval (Ri) in MCUs; 0 for none.
    restart_interval: usize,
}

impl<'a> Scan<'a> {
    /// Reads a scan header and saves the quantization tables of its components.
    fn read(
        segment: &[u8],
        frame: &Frame,
        frame_components: &mut [Component],
        tables: &'a Tables,
    ) -> Result<Self, ImageError> {
        let invalid = || corrupt(NAME, "scan header does not match its frame");
        let (count, rest) = segment.split_first().ok_or_else(invalid)?;
        let (selected, rest) = rest
            .split_at_checked(2 * usize::from(*count))
            .ok_or_else(invalid)?;
        let [first, last, approximation, ..] = rest else {
            return Err(invalid());
        };
        let (first, last) = (usize::from(*first), usize::from(*last));
        // Successive approximation bit positions (Ah, Al).
        let (high, low) = (approximation >> 4, approximation & 15);
        let (procedure, band) = match (frame.is_progressive(), first, high) {
            (false, ..) => (Procedure::Sequential, (0, 63)),
            (true, 0, _) if last != 0 => return Err(invalid()),
            (true, 0, 0) => (Procedure::DcFirst, (0, 0)),
            (true, 0, _) => (Procedure::DcRefine, (0, 0)),
            (true, _, 0) => (Procedure::AcFirst, (first, last)),
            (true, _, _) => (Procedure::AcRefine, (first, last)),
        };
        let is_ac_scan = matches!(procedure, Procedure::AcFirst | Procedure::AcRefine);
        if !(1..=4).contains(count)
            || (is_ac_scan && *count != 1)
            || band.0 > band.1
            || band.1 > 63
            || low > 13
        {
            return Err(invalid());
        }
        let mut components = Vec::with_capacity(4);
        for [id, table_destinations] in selected.as_chunks::<2>().0 {
            let frame_index = frame_components
                .iter()
                .position(|component| component.id == *id)
                .ok_or_else(invalid)?;
            if components
                .iter()
                .any(|component: &ScanComponent| component.frame_index == frame_index)
            {
                return Err(invalid());
            }
            let component = &mut frame_components[frame_index];
            if component.saved_quantization_table.is_none() {
                let table = tables.quantization[component.quantization_table];
                component.saved_quantization_table =
                    Some(table.ok_or_else(|| corrupt(NAME, "missing quantization table"))?);
            }
            let table = |tables: &'a [Option<HuffmanTable>; 4], destination: u8| {
                tables.get(usize::from(destination))?.as_ref()
            };
            let component = ScanComponent {
                frame_index,
                dc: table(&tables.dc, table_destinations >> 4),
                ac: table(&tables.ac, table_destinations & 15),
                destinations: (
                    usize::from(table_destinations >> 4),
                    usize::from(table_destinations & 15),
                ),
            };
            let needs_dc = matches!(procedure, Procedure::Sequential | Procedure::DcFirst);
            let needs_ac = matches!(
                procedure,
                Procedure::Sequential | Procedure::AcFirst | Procedure::AcRefine
            );
            if !frame.is_arithmetic()
                && ((needs_dc && component.dc.is_none()) || (needs_ac && component.ac.is_none()))
            {
                return Err(corrupt(NAME, "missing Huffman table"));
            }
            components.push(component);
        }
        let point_transform = if procedure == Procedure::Sequential {
            0
        } else {
            low.into()
        };
        Ok(Self {
            components,
            procedure,
            band,
            point_transform,
            conditioning: frame.is_arithmetic().then_some(&tables.conditioning),
            restart_interval: tables.restart_interval,
        })
    }

    /// Returns the number of blocks of its components, with their padding.
    fn blocks(&self, frame_components: &[Component]) -> usize {
        let components = self.components.iter();
        components
            .map(|component| frame_components[component.frame_index].blocks())
            .sum()
    }

    /// Records which bits of its components are missing after this scan, the `number`th of the file.
    fn record_precision(&self, frame_components: &mut [Component], number: usize) {
        for component in &self.components {
            let component = &mut frame_components[component.frame_index];
            component.missing_bits_before = match (number, component.missing_bits.first_chunk()) {
                (2.., Some(missing_bits)) => *missing_bits,
                _ => Default::default(),
            };
            component.missing_bits[self.band.0..=self.band.1].fill(self.point_transform as u8);
        }
    }

    /// Decodes the entropy-coded segments at `position` to coefficients, and to samples too if
    /// `is_single_scan`.
    fn decode(
        &self,
        frame_components: &mut [Component],
        bytes: &[u8],
        position: usize,
        is_single_scan: bool,
    ) -> ScanEnd {
        match self.conditioning {
            Some(conditioning) => {
                let blocks = ArithmeticBlocks::new(bytes, position, conditioning);
                self.decode_with(frame_components, bytes, blocks, is_single_scan)
            }
            None => {
                let blocks = HuffmanBlocks::new(bytes, position);
                clipn_base::simd::current_arch().dispatch(DecodeScan {
                    scan: self,
                    frame_components,
                    bytes,
                    blocks,
                    is_single_scan,
                })
            }
        }
    }

    #[inline(always)]
    fn decode_with<B: BlockDecoder>(
        &self,
        frame_components: &mut [Component],
        bytes: &[u8],
        blocks: B,
        is_single_scan: bool,
    ) -> ScanEnd {
        let mut decoder = Decoder {
            bytes,
            blocks,
            mcus_to_restart: self.restart_interval,
            next_restart: 0,
        };
        // A non-interleaved scan is coded block by block, without the padding to whole MCUs (T.81
        // A.2.2).
        let is_interleaved = self.components.len() > 1;
        // Blocks of a component in an MCU.
        let mcu_size = |component: &Component| {
            if is_interleaved {
                component.sampling_factors
            } else {
                SamplingFactors {
                    horizontal: 1,
                    vertical: 1,
                }
            }
        };
        let first = &frame_components[self.components[0].frame_index];
        let (columns, rows) = if is_interleaved {
            (
                first.padded_blocks_per_row / first.sampling_factors.horizontal,
                first.samples.len() / first.stride() / 8 / first.sampling_factors.vertical,
            )
        } else {
            first.size_in_blocks
        };
        let block_rows_per_mcu_row = match is_interleaved {
            true => 1,
            false => first.sampling_factors.vertical,
        };
        let mut last_mcu_row = 0;
        for row in 0..rows {
            for column in 0..columns {
                if !decoder.blocks.is_known_to_be_short() {
                    last_mcu_row = row / block_rows_per_mcu_row;
                }
                self.restart_if_due(&mut decoder);
                let is_exhausted = decoder.blocks.is_exhausted();
                if is_exhausted && !is_single_scan {
                    continue;
                }
                for (index, scan_component) in self.components.iter().enumerate() {
                    let component = &mut frame_components[scan_component.frame_index];
                    let mcu = mcu_size(component);
                    for y in row * mcu.vertical..(row + 1) * mcu.vertical {
                        for x in column * mcu.horizontal..(column + 1) * mcu.horizontal {
                            if is_single_scan {
                                let mut block = [0; 64];
                                if !is_exhausted {
                                    decoder.blocks.decode_block(self, index, &mut block);
                                }
                                component.write_samples((x, y), &block);
                            } else {
                                let block = y * component.padded_blocks_per_row + x;
                                let block = &mut component.coefficients[block];
                                decoder.blocks.decode_block(self, index, block);
                            }
                        }
                    }
                }
            }
        }
        ScanEnd {
            position: decoder.blocks.position(),
            consumed: decoder.blocks.consumed(),
            is_exhausted: decoder.blocks.is_exhausted(),
            last_mcu_row,
        }
    }

    /// Restarts the decoder at the end of a restart interval.
    fn restart_if_due<B: BlockDecoder>(&self, decoder: &mut Decoder<B>) {
        if self.restart_interval == 0 {
            return;
        }
        if decoder.mcus_to_restart == 0 {
            decoder.restart();
            decoder.mcus_to_restart = self.restart_interval;
        }
        decoder.mcus_to_restart -= 1;
    }
}

/// [`Scan::decode_with`] with the widest SIMD instructions available, and with the shifts that come with
/// them.
struct DecodeScan<'a, 'b> {
    scan: &'a Scan<'a>,
    frame_components: &'a mut [Component],
    bytes: &'b [u8],
    blocks: HuffmanBlocks<'b>,
    is_single_scan: bool,
}

impl WithSimd for DecodeScan<'_, '_> {
    type Output = ScanEnd;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> ScanEnd {
        self.scan.decode_with(
            self.frame_components,
            self.bytes,
            self.blocks,
            self.is_single_scan,
        )
    }
}

/// Decoder of the entropy-coded segments of a scan.
struct Decoder<'a, B> {
    bytes: &'a [u8],
    blocks: B,
    /// MCUs before the next restart.
    mcus_to_restart: usize,
    /// Number of the next restart marker, 0 to 7 (RST0 to RST7).
    next_restart: u8,
}

impl<B: BlockDecoder> Decoder<'_, B> {
    /// Continues after the next restart marker. Resynchronizes as libjpeg does if another marker
    /// follows.
    fn restart(&mut self) {
        let expected = self.next_restart;
        self.next_restart = (expected + 1) & 7;
        let mut position = self.blocks.position();
        while let Some((marker, after)) = headers::next_marker(self.bytes, position) {
            position = after;
            match (marker, marker.wrapping_sub(RST0).wrapping_sub(expected) & 7) {
                // An invalid marker or an earlier restart marker: the next one may be expected.
                (0..SOF0, _) | (RST0..=RST7, 6 | 7) => continue,
                // One of the next two restart markers, or the end of the scan: data is lost. The
                // marker stays in place until it is expected.
                (SOF0..RST0 | SOI.., _) | (_, 1 | 2) => self.blocks.restart(Some(after - 2), false),
                // The expected restart marker, or one too far away to resynchronize with.
                _ => self.blocks.restart(Some(after), true),
            }
            return;
        }
        self.blocks.restart(None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_limited_by_their_number_and_by_their_blocks() {
        let count = |image_blocks: usize, blocks: usize| {
            let mut limit = ScanLimit::new(image_blocks);
            let scans = (0..).take_while(|_| limit.add(blocks).is_ok()).count();
            (scans, limit.add(blocks).unwrap_err().to_string())
        };
        let (scans, error) = count(4096, 4096);
        assert_eq!(scans, MAX_SCANS);
        assert!(error.ends_with("more than 256 scans"), "{error}");
        // 40 megapixels of chroma 4:2:0.
        let blocks = 40_000_000 / 64 * 3 / 2;
        assert_eq!(count(blocks, blocks).0, 143);
        // Larger images have their scans, too.
        for megapixels in [200, 4000] {
            let blocks = megapixels * 1_000_000 / 64 * 3;
            let (scans, error) = count(blocks, blocks);
            assert_eq!(scans, MAX_VISITS);
            let expected = format!("expected at most {}", 16 * blocks);
            assert!(error.ends_with(&expected), "{error}");
            assert_eq!(count(blocks, blocks / 3).0, 3 * MAX_VISITS, "one component");
        }
    }
}
