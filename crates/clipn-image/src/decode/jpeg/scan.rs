//! Scans: decoding of entropy-coded DCT coefficients into components (T.81 Annexes F and G).
use super::component::Component;
use super::headers::{
    self, DHT, DQT, DRI, EOI, Frame, RST0, RST7, SOF0, SOI, SOS, SamplingFactors,
};
use super::huffman::{BitReader, HuffmanTable};
use super::tables::{Tables, ZIGZAG};
use super::{NAME, corrupt};
use crate::error::ImageError;

/// Maximum number of scans, more than any real file has: each scan decodes all blocks again.
const MAX_SCANS: usize = 256;

/// Decodes all scans of the file into the samples of each component.
pub(super) fn decode(bytes: &[u8], frame: &Frame) -> Result<Vec<Component>, ImageError> {
    let mut tables = Tables::default();
    let mut components: Option<Vec<Component>> = None;
    let (mut position, mut scans) = (2, 0);
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
            DRI => {
                tables.restart_interval = segment
                    .first_chunk::<2>()
                    .map_or(0, |n| u16::from_be_bytes(*n).into());
            }
            SOS => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(corrupt(NAME, format!("more than {MAX_SCANS} scans")));
                }
                // All components in one scan: samples are computed row by row, and only one MCU row
                // of coefficients is stored.
                let is_single_scan = !frame.is_progressive()
                    && segment.first() == Some(&(frame.components.len() as u8));
                let keep_all = components.is_some() || !is_single_scan;
                let components =
                    components.get_or_insert_with(|| Component::allocate(frame, keep_all));
                let scan = Scan::read(segment, frame, components, &tables)?;
                if !keep_all {
                    scan.decode(components, BitReader::new(bytes, position), true)?;
                    return check_components(std::mem::take(components));
                }
                position = scan.decode(components, BitReader::new(bytes, position), false)?;
            }
            _ => {}
        }
    }
    let mut components = components.ok_or_else(|| corrupt(NAME, "no scan"))?;
    components
        .iter_mut()
        .for_each(|component| component.inverse_dct(0));
    check_components(components)
}

/// Rejects a frame with a component that no scan contains.
fn check_components(components: Vec<Component>) -> Result<Vec<Component>, ImageError> {
    let missing = components
        .iter()
        .find(|component| component.saved_quantization_table.is_none());
    match missing {
        Some(component) => {
            let reason = format!("no scan for component {}", component.id);
            Err(corrupt(NAME, reason))
        }
        None => Ok(components),
    }
}

/// Component of a scan with its Huffman tables.
struct ScanComponent<'a> {
    /// Index of the component in the frame.
    frame_index: usize,
    /// DC Huffman table (Tdj).
    dc: Option<&'a HuffmanTable>,
    /// AC Huffman table (Taj).
    ac: Option<&'a HuffmanTable>,
}

/// Coding procedure of a scan.
#[derive(Clone, Copy, PartialEq)]
enum Procedure {
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
struct Scan<'a> {
    components: Vec<ScanComponent<'a>>,
    procedure: Procedure,
    /// Spectral selection: first and last coefficient in zig-zag order (Ss, Se).
    band: (usize, usize),
    /// Point transform (Al): number of low bits that later scans refine.
    point_transform: u32,
    /// Restart interval (Ri) in MCUs; 0 for none.
    restart_interval: usize,
}

/// Entropy decoder state between blocks, reset at a restart.
#[derive(Default)]
struct State {
    /// DC prediction of each scan component (PRED).
    dc_predictors: [i32; 4],
    /// Number of following blocks without further coefficients in the band (EOBRUN).
    eob_run: u32,
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
            };
            let needs_dc = matches!(procedure, Procedure::Sequential | Procedure::DcFirst);
            let needs_ac = matches!(
                procedure,
                Procedure::Sequential | Procedure::AcFirst | Procedure::AcRefine
            );
            if (needs_dc && component.dc.is_none()) || (needs_ac && component.ac.is_none()) {
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
            restart_interval: tables.restart_interval,
        })
    }

    /// Decodes the coefficients, and the samples too if `is_single_scan`.
    ///
    /// Returns the position after the entropy-coded segments.
    fn decode(
        &self,
        frame_components: &mut [Component],
        bits: BitReader,
        is_single_scan: bool,
    ) -> Result<usize, ImageError> {
        let mut decoder = Decoder {
            bits,
            state: State::default(),
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
        for row in 0..rows {
            if is_single_scan {
                frame_components
                    .iter_mut()
                    .for_each(|component| component.coefficients.fill([0; 64]));
            }
            for column in 0..columns {
                self.restart_if_due(&mut decoder);
                if decoder.bits.insufficient_data {
                    continue;
                }
                for (index, scan_component) in self.components.iter().enumerate() {
                    let component = &mut frame_components[scan_component.frame_index];
                    let mcu = mcu_size(component);
                    let top = if is_single_scan {
                        0
                    } else {
                        row * mcu.vertical
                    };
                    for y in 0..mcu.vertical {
                        let start =
                            (top + y) * component.padded_blocks_per_row + column * mcu.horizontal;
                        for block in &mut component.coefficients[start..start + mcu.horizontal] {
                            self.decode_block(&mut decoder, index, scan_component, block);
                        }
                    }
                }
            }
            if is_single_scan {
                for component in frame_components.iter_mut() {
                    component.inverse_dct(row * mcu_size(component).vertical);
                }
            }
        }
        Ok(decoder.bits.position())
    }

    /// Restarts the decoder at the end of a restart interval.
    fn restart_if_due(&self, decoder: &mut Decoder) {
        if self.restart_interval == 0 {
            return;
        }
        if decoder.mcus_to_restart == 0 {
            decoder.restart();
            decoder.mcus_to_restart = self.restart_interval;
        }
        decoder.mcus_to_restart -= 1;
    }

    /// Decodes the block of scan component `index`.
    #[inline]
    fn decode_block(
        &self,
        decoder: &mut Decoder,
        index: usize,
        component: &ScanComponent,
        block: &mut [i16; 64],
    ) {
        let Decoder { bits, state, .. } = decoder;
        match (self.procedure, component.dc, component.ac) {
            (Procedure::Sequential, Some(dc), Some(ac)) => {
                state.dc_predictors[index] =
                    state.dc_predictors[index].wrapping_add(bits.dc_difference(dc));
                block[0] = state.dc_predictors[index] as i16;
                let mut k = 1;
                while k < 64 {
                    let (run, value) = bits.ac_coefficient(ac);
                    if value == 0 && run < 15 {
                        break;
                    }
                    k += run;
                    if value != 0 {
                        block[ZIGZAG[k]] = value as i16;
                    }
                    k += 1;
                }
            }
            (Procedure::DcFirst, Some(dc), _) => {
                state.dc_predictors[index] =
                    state.dc_predictors[index].wrapping_add(bits.dc_difference(dc));
                block[0] = (state.dc_predictors[index] << self.point_transform) as i16;
            }
            (Procedure::DcRefine, ..) => {
                block[0] |= (bits.receive(1) << self.point_transform) as i16;
            }
            (Procedure::AcFirst, _, Some(ac)) => self.decode_ac_first(bits, state, ac, block),
            (Procedure::AcRefine, _, Some(ac)) => self.decode_ac_refine(bits, state, ac, block),
            // `read` rejects scans with missing tables.
            _ => {}
        }
    }

    /// Decodes the first scan of a band of AC coefficients (T.81 G.1.2.2).
    fn decode_ac_first(
        &self,
        bits: &mut BitReader,
        state: &mut State,
        ac: &HuffmanTable,
        block: &mut [i16; 64],
    ) {
        if state.eob_run > 0 {
            state.eob_run -= 1;
            return;
        }
        let mut k = self.band.0;
        while k <= self.band.1 {
            let (run, value) = bits.ac_coefficient(ac);
            if value == 0 && run < 15 {
                state.eob_run = (1 << run) - 1 + bits.receive(run as u32);
                break;
            }
            k += run;
            if value != 0 {
                block[ZIGZAG[k]] = (value << self.point_transform) as i16;
            }
            k += 1;
        }
    }

    /// Decodes a refinement scan of a band of AC coefficients (T.81 G.1.2.3).
    fn decode_ac_refine(
        &self,
        bits: &mut BitReader,
        state: &mut State,
        ac: &HuffmanTable,
        block: &mut [i16; 64],
    ) {
        let (plus, minus) = (1i16 << self.point_transform, -1i16 << self.point_transform);
        // A coefficient with nonzero history gets a correction bit.
        let refine = |bits: &mut BitReader, value: &mut i16| {
            if bits.receive(1) == 1 && *value & plus == 0 {
                *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
            }
        };
        let mut k = self.band.0;
        if state.eob_run == 0 {
            while k <= self.band.1 {
                let symbol = bits.decode(ac);
                let (mut run, size) = (symbol >> 4, symbol & 15);
                let mut new = 0;
                if size != 0 {
                    new = if bits.receive(1) == 1 { plus } else { minus };
                } else if run < 15 {
                    state.eob_run = (1 << run) + bits.receive(run.into());
                    break;
                }
                // Skip the zeros of the run and refine the nonzero coefficients on the way.
                while k <= self.band.1 {
                    let value = &mut block[ZIGZAG[k]];
                    if *value != 0 {
                        refine(bits, value);
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    k += 1;
                }
                if new != 0 {
                    block[ZIGZAG[k]] = new;
                }
                k += 1;
            }
        }
        if state.eob_run > 0 {
            for position in ZIGZAG.iter().take(self.band.1 + 1).skip(k) {
                if block[*position] != 0 {
                    refine(bits, &mut block[*position]);
                }
            }
            state.eob_run -= 1;
        }
    }
}

/// Decoder of the entropy-coded segments of a scan.
struct Decoder<'a> {
    bits: BitReader<'a>,
    state: State,
    /// MCUs before the next restart.
    mcus_to_restart: usize,
    /// Number of the next restart marker, 0 to 7 (RST0 to RST7).
    next_restart: u8,
}

impl Decoder<'_> {
    /// Continues after the next restart marker. Resynchronizes as libjpeg does if another marker
    /// follows.
    fn restart(&mut self) {
        self.state = State::default();
        let expected = self.next_restart;
        self.next_restart = (expected + 1) & 7;
        let mut position = self.bits.position();
        while let Some((marker, after)) = self.bits.next_marker_from(position) {
            position = after;
            match (marker, marker.wrapping_sub(RST0).wrapping_sub(expected) & 7) {
                // An invalid marker or an earlier restart marker: the next one may be expected.
                (0..SOF0, _) | (RST0..=RST7, 6 | 7) => continue,
                // One of the next two restart markers, or the end of the scan: data is lost. The
                // marker stays in place until it is expected.
                (SOF0..RST0 | SOI.., _) | (_, 1 | 2) => self.bits.restart(after - 2),
                // The expected restart marker, or one too far away to resynchronize with.
                _ => {
                    self.bits.restart(after);
                    self.bits.insufficient_data = false;
                }
            }
            return;
        }
    }
}
