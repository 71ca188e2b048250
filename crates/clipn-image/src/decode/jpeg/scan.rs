//! Scans: decoding of entropy-coded DCT coefficients into planes (T.81 Annexes F and G).
use super::headers::{self, END, Frame};
use super::huffman::{BitReader, Table};
use super::planes::Plane;
use super::{NAME, damaged};
use crate::error::ImageError;

/// Maximum number of scans, more than any real file has: each scan costs a pass over the image.
const MAX_SCANS: usize = 256;

/// Position in row order of each coefficient in zig-zag order (T.81 Figure A.6).
///
/// The table is padded with the last position, for runs beyond the end of a block.
const ZIGZAG: [usize; 80] = {
    let mut order = [63; 80];
    let (mut index, mut row, mut column) = (0, 0usize, 0usize);
    while index < 64 {
        order[index] = row * 8 + column;
        let upwards = (row + column) % 2 == 0;
        match (upwards, row, column) {
            (true, _, 7) => row += 1,
            (true, 0, _) => column += 1,
            (true, _, _) => (row, column) = (row - 1, column + 1),
            (false, 7, _) => column += 1,
            (false, _, 0) => row += 1,
            (false, _, _) => (row, column) = (row + 1, column - 1),
        }
        index += 1;
    }
    order
};

/// Decodes all scans of the file into the samples of each component.
pub(super) fn decode(bytes: &[u8], frame: &Frame) -> Result<Vec<Plane>, ImageError> {
    let mut tables = Tables::default();
    let mut planes: Option<Vec<Plane>> = None;
    let (mut position, mut scans) = (2, 0);
    while let Some((marker, after)) = headers::next_marker(bytes, position) {
        position = after;
        if marker == END {
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
            // DQT
            0xDB => tables.read_quantization_tables(segment)?,
            // DHT
            0xC4 => tables.read_huffman_tables(segment)?,
            // DRI
            0xDD => {
                tables.restart_interval = segment
                    .first_chunk::<2>()
                    .map_or(0, |n| u16::from_be_bytes(*n).into());
            }
            // SOS
            0xDA => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(damaged(NAME, format!("more than {MAX_SCANS} scans")));
                }
                // All components in one scan: samples are computed row by row, and only one MCU row
                // of coefficients is stored.
                let is_single_scan = !frame.is_progressive()
                    && segment.first() == Some(&(frame.components.len() as u8));
                let keep_all = planes.is_some() || !is_single_scan;
                let planes = planes.get_or_insert_with(|| Plane::of(frame, keep_all));
                let scan = Scan::read(segment, frame, planes, &tables)?;
                if !keep_all {
                    scan.decode(planes, BitReader::new(bytes, position), true)?;
                    return check_components(std::mem::take(planes));
                }
                position = scan.decode(planes, BitReader::new(bytes, position), false)?;
            }
            _ => {}
        }
    }
    let mut planes = planes.ok_or_else(|| damaged(NAME, "no scan"))?;
    planes.iter_mut().for_each(|plane| plane.transform(0));
    check_components(planes)
}

/// Rejects a frame with a component that no scan contains.
fn check_components(planes: Vec<Plane>) -> Result<Vec<Plane>, ImageError> {
    match planes.iter().find(|plane| plane.steps.is_none()) {
        Some(plane) => Err(damaged(NAME, format!("no scan for component {}", plane.id))),
        None => Ok(planes),
    }
}

/// Tables defined by the marker segments so far (T.81 B.2.4).
#[derive(Default)]
struct Tables {
    /// Quantization tables by destination (Tq), in row order.
    quantization: [Option<[u16; 64]>; 4],
    /// DC Huffman tables by destination (Th).
    dc: [Option<Table>; 4],
    /// AC Huffman tables by destination (Th).
    ac: [Option<Table>; 4],
    /// Restart interval (Ri) in MCUs; 0 for none.
    restart_interval: usize,
}

impl Tables {
    /// Reads the quantization tables of a DQT segment (T.81 B.2.4.1).
    fn read_quantization_tables(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let incomplete = || damaged(NAME, "incomplete quantization table");
        while let [precision_destination, rest @ ..] = segment {
            let (is_16_bit, destination) = (
                precision_destination >> 4 != 0,
                usize::from(precision_destination & 15),
            );
            let length = if is_16_bit { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(incomplete)?;
            let slot = self.quantization.get_mut(destination).ok_or_else(|| {
                damaged(
                    NAME,
                    format!("quantization table destination: expected 0 to 3, got {destination}"),
                )
            })?;
            let table = slot.insert([0; 64]);
            for (index, position) in ZIGZAG[..64].iter().enumerate() {
                table[*position] = match is_16_bit {
                    true => u16::from_be_bytes([values[2 * index], values[2 * index + 1]]),
                    false => values[index].into(),
                };
            }
            segment = rest;
        }
        Ok(())
    }

    /// Reads the Huffman tables of a DHT segment (T.81 B.2.4.2).
    fn read_huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let incomplete = || damaged(NAME, "incomplete Huffman table");
        while let [class_destination, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(incomplete)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(incomplete)?;
            let destination = usize::from(class_destination & 15);
            let tables = if class_destination >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = tables.get_mut(destination).ok_or_else(|| {
                damaged(
                    NAME,
                    format!("Huffman table destination: expected 0 to 3, got {destination}"),
                )
            })?;
            *slot = Some(Table::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }
}

/// Component of a scan with its Huffman tables.
struct ScanComponent<'a> {
    /// Index of the component in the frame.
    plane: usize,
    /// DC Huffman table (Tdj).
    dc: Option<&'a Table>,
    /// AC Huffman table (Taj).
    ac: Option<&'a Table>,
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
        planes: &mut [Plane],
        tables: &'a Tables,
    ) -> Result<Self, ImageError> {
        let invalid = || damaged(NAME, "scan header does not match its frame");
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
            let plane = planes
                .iter()
                .position(|plane| plane.id == *id)
                .ok_or_else(invalid)?;
            if components
                .iter()
                .any(|component: &ScanComponent| component.plane == plane)
            {
                return Err(invalid());
            }
            if planes[plane].steps.is_none() {
                let table = tables.quantization[planes[plane].quantization_table];
                planes[plane].steps =
                    Some(table.ok_or_else(|| damaged(NAME, "missing quantization table"))?);
            }
            let table = |tables: &'a [Option<Table>; 4], destination: u8| {
                tables.get(usize::from(destination))?.as_ref()
            };
            let component = ScanComponent {
                plane,
                dc: table(&tables.dc, table_destinations >> 4),
                ac: table(&tables.ac, table_destinations & 15),
            };
            let needs_dc = matches!(procedure, Procedure::Sequential | Procedure::DcFirst);
            let needs_ac = matches!(
                procedure,
                Procedure::Sequential | Procedure::AcFirst | Procedure::AcRefine
            );
            if (needs_dc && component.dc.is_none()) || (needs_ac && component.ac.is_none()) {
                return Err(damaged(NAME, "missing Huffman table"));
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
        planes: &mut [Plane],
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
        let first = &planes[self.components[0].plane];
        let (columns, rows) = if is_interleaved {
            (
                first.blocks_per_row / first.sampling.0,
                first.samples.len() / first.stride() / 8 / first.sampling.1,
            )
        } else {
            first.blocks
        };
        for row in 0..rows {
            if is_single_scan {
                planes
                    .iter_mut()
                    .for_each(|plane| plane.coefficients.fill([0; 64]));
            }
            for column in 0..columns {
                self.restart_if_due(&mut decoder);
                if decoder.bits.insufficient_data {
                    continue;
                }
                for (index, component) in self.components.iter().enumerate() {
                    let plane = &mut planes[component.plane];
                    let (h, v) = if is_interleaved {
                        plane.sampling
                    } else {
                        (1, 1)
                    };
                    let top = if is_single_scan { 0 } else { row * v };
                    for y in 0..v {
                        let start = (top + y) * plane.blocks_per_row + column * h;
                        for block in &mut plane.coefficients[start..start + h] {
                            self.decode_block(&mut decoder, index, component, block);
                        }
                    }
                }
            }
            if is_single_scan {
                for plane in planes.iter_mut() {
                    let v = if is_interleaved { plane.sampling.1 } else { 1 };
                    plane.transform(row * v);
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
                    state.dc_predictors[index].wrapping_add(bits.difference(dc));
                block[0] = state.dc_predictors[index] as i16;
                let mut k = 1;
                while k < 64 {
                    let (run, value) = bits.coefficient(ac);
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
                    state.dc_predictors[index].wrapping_add(bits.difference(dc));
                block[0] = (state.dc_predictors[index] << self.point_transform) as i16;
            }
            (Procedure::DcRefine, ..) => block[0] |= (bits.bits(1) << self.point_transform) as i16,
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
        ac: &Table,
        block: &mut [i16; 64],
    ) {
        if state.eob_run > 0 {
            state.eob_run -= 1;
            return;
        }
        let mut k = self.band.0;
        while k <= self.band.1 {
            let (run, value) = bits.coefficient(ac);
            if value == 0 && run < 15 {
                state.eob_run = (1 << run) - 1 + bits.bits(run as u32);
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
        ac: &Table,
        block: &mut [i16; 64],
    ) {
        let (plus, minus) = (1i16 << self.point_transform, -1i16 << self.point_transform);
        // A coefficient with nonzero history gets a correction bit.
        let refine = |bits: &mut BitReader, value: &mut i16| {
            if bits.bits(1) == 1 && *value & plus == 0 {
                *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
            }
        };
        let mut k = self.band.0;
        if state.eob_run == 0 {
            while k <= self.band.1 {
                let symbol = bits.symbol(ac);
                let (mut run, size) = (symbol >> 4, symbol & 15);
                let mut new = 0;
                if size != 0 {
                    new = if bits.bits(1) == 1 { plus } else { minus };
                } else if run < 15 {
                    state.eob_run = (1 << run) + bits.bits(run.into());
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
        while let Some((marker, after)) = self.bits.marker_from(position) {
            position = after;
            match (marker, marker.wrapping_sub(0xD0).wrapping_sub(expected) & 7) {
                // An invalid marker or an earlier restart marker: the next one may be expected.
                (0..0xC0, _) | (0xD0..=0xD7, 6 | 7) => continue,
                // One of the next two restart markers, or the end of the scan: data is lost. The
                // marker stays in place until it is expected.
                (0xC0..0xD0 | 0xD8.., _) | (_, 1 | 2) => self.bits.restart(after - 2),
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
