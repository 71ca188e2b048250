//! The scans of a file: entropy-coded coefficients into planes.
use super::headers::{self, END, Frame};
use super::huffman::{Bits, Table};
use super::planes::Plane;
use super::{NAME, damaged};
use crate::error::ImageError;

/// More scans than any real file has: each one costs a pass over the picture.
const MAX_SCANS: usize = 256;

/// Position in rows of frequencies of each coefficient in the order of the file. Indices beyond the last stay on it.
const ORDER: [usize; 80] = {
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

/// Decodes all scans of the file into samples.
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
            0xDB => tables.take_steps(segment)?,
            0xC4 => tables.take_codes(segment)?,
            0xDD => {
                tables.restart_interval = segment
                    .first_chunk::<2>()
                    .map_or(0, |n| u16::from_be_bytes(*n).into());
            }
            0xDA => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(damaged(NAME, format!("it has more than {MAX_SCANS} scans")));
                }
                // All in one scan: samples are made as rows come, and only a row of coefficients is kept.
                let at_once = !frame.is_progressive()
                    && segment.first() == Some(&(frame.components.len() as u8));
                let kept_whole = planes.is_some() || !at_once;
                let planes = planes.get_or_insert_with(|| Plane::of(frame, kept_whole));
                let scan = Scan::read(segment, frame, planes, &tables)?;
                if !kept_whole {
                    scan.decode(planes, Bits::new(bytes, position), true)?;
                    return finished(std::mem::take(planes));
                }
                position = scan.decode(planes, Bits::new(bytes, position), false)?;
            }
            _ => {}
        }
    }
    let mut planes = planes.ok_or_else(|| damaged(NAME, "it has no scan"))?;
    planes.iter_mut().for_each(|plane| plane.transform(0));
    finished(planes)
}

fn finished(planes: Vec<Plane>) -> Result<Vec<Plane>, ImageError> {
    match planes.iter().find(|plane| plane.steps.is_none()) {
        Some(plane) => Err(damaged(
            NAME,
            format!("component {} is in no scan", plane.id),
        )),
        None => Ok(planes),
    }
}

/// The tables in force.
#[derive(Default)]
struct Tables {
    steps: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    restart_interval: usize,
}

impl Tables {
    fn take_steps(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let cut = || damaged(NAME, "a quantisation table is cut short");
        while let [head, rest @ ..] = segment {
            let (wide, number) = (head >> 4 != 0, usize::from(head & 15));
            let length = if wide { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
            let slot = self
                .steps
                .get_mut(number)
                .ok_or_else(|| damaged(NAME, "a quantisation table above 3"))?;
            let steps = slot.insert([0; 64]);
            for (index, position) in ORDER[..64].iter().enumerate() {
                steps[*position] = match wide {
                    true => u16::from_be_bytes([values[2 * index], values[2 * index + 1]]),
                    false => values[index].into(),
                };
            }
            segment = rest;
        }
        Ok(())
    }

    fn take_codes(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let cut = || damaged(NAME, "a Huffman table is cut short");
        while let [head, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(cut)?;
            let kind = if head >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = kind
                .get_mut(usize::from(head & 15))
                .ok_or_else(|| damaged(NAME, "a Huffman table above 3"))?;
            *slot = Some(Table::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }
}

/// One component of a scan, with its codes.
struct Part<'a> {
    plane: usize,
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
}

/// Which coefficients a scan holds.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// All of them.
    Sequential,
    /// The first bits of the mean.
    FirstMean,
    /// One more bit of the mean.
    NextMean,
    /// The first bits of other frequencies.
    First,
    /// One more bit of other frequencies.
    Next,
}

/// A scan header, and the tables that it names.
struct Scan<'a> {
    parts: Vec<Part<'a>>,
    pass: Pass,
    /// First and last coefficient.
    band: (usize, usize),
    /// Bits that are still to come after this scan.
    shift: u32,
    restart_interval: usize,
}

/// What goes on from block to block.
#[derive(Default)]
struct State {
    /// The last mean of each part.
    means: [i32; 4],
    /// Blocks to come that have no more coefficients in this band.
    ended_blocks: u32,
}

impl<'a> Scan<'a> {
    fn read(
        segment: &[u8],
        frame: &Frame,
        planes: &mut [Plane],
        tables: &'a Tables,
    ) -> Result<Self, ImageError> {
        let wrong = || damaged(NAME, "a scan header does not fit its frame");
        let (count, rest) = segment.split_first().ok_or_else(wrong)?;
        let (selected, rest) = rest
            .split_at_checked(2 * usize::from(*count))
            .ok_or_else(wrong)?;
        let [first, last, approximation, ..] = rest else {
            return Err(wrong());
        };
        let (first, last) = (usize::from(*first), usize::from(*last));
        let (high, low) = (approximation >> 4, approximation & 15);
        let (pass, band) = match (frame.is_progressive(), first, high) {
            (false, ..) => (Pass::Sequential, (0, 63)),
            (true, 0, _) if last != 0 => return Err(wrong()),
            (true, 0, 0) => (Pass::FirstMean, (0, 0)),
            (true, 0, _) => (Pass::NextMean, (0, 0)),
            (true, _, 0) => (Pass::First, (first, last)),
            (true, _, _) => (Pass::Next, (first, last)),
        };
        let single = matches!(pass, Pass::First | Pass::Next);
        if !(1..=4).contains(count)
            || (single && *count != 1)
            || band.0 > band.1
            || band.1 > 63
            || low > 13
        {
            return Err(wrong());
        }
        let mut parts = Vec::with_capacity(4);
        for [id, codes] in selected.as_chunks::<2>().0 {
            let plane = planes
                .iter()
                .position(|plane| plane.id == *id)
                .ok_or_else(wrong)?;
            if parts.iter().any(|part: &Part| part.plane == plane) {
                return Err(wrong());
            }
            if planes[plane].steps.is_none() {
                let steps = tables.steps[planes[plane].quantisation];
                planes[plane].steps =
                    Some(steps.ok_or_else(|| damaged(NAME, "a quantisation table is missing"))?);
            }
            let table =
                |kind: &'a [Option<Table>; 4], number: u8| kind.get(usize::from(number))?.as_ref();
            let part = Part {
                plane,
                dc: table(&tables.dc, codes >> 4),
                ac: table(&tables.ac, codes & 15),
            };
            let needs_dc = matches!(pass, Pass::Sequential | Pass::FirstMean);
            let needs_ac = matches!(pass, Pass::Sequential | Pass::First | Pass::Next);
            if (needs_dc && part.dc.is_none()) || (needs_ac && part.ac.is_none()) {
                return Err(damaged(NAME, "a Huffman table is missing"));
            }
            parts.push(part);
        }
        let shift = if pass == Pass::Sequential {
            0
        } else {
            low.into()
        };
        Ok(Self {
            parts,
            pass,
            band,
            shift,
            restart_interval: tables.restart_interval,
        })
    }

    /// Decodes the coefficients, and with `at_once` the samples too; gives where the bits have ended.
    fn decode(&self, planes: &mut [Plane], bits: Bits, at_once: bool) -> Result<usize, ImageError> {
        let mut decoder = Decoder {
            bits,
            state: State::default(),
            left: self.restart_interval,
            next_restart: 0,
        };
        // A scan of one component is coded block by block, without the padding to whole units.
        let alone = self.parts.len() == 1;
        let first = &planes[self.parts[0].plane];
        let (columns, rows) = match alone {
            true => first.blocks,
            false => (
                first.blocks_per_row / first.sampling.0,
                first.samples.len() / first.stride() / 8 / first.sampling.1,
            ),
        };
        for row in 0..rows {
            if at_once {
                planes
                    .iter_mut()
                    .for_each(|plane| plane.coefficients.fill([0; 64]));
            }
            for column in 0..columns {
                self.restart_when_due(&mut decoder);
                if decoder.bits.starved {
                    continue;
                }
                for (index, part) in self.parts.iter().enumerate() {
                    let plane = &mut planes[part.plane];
                    let (h, v) = if alone { (1, 1) } else { plane.sampling };
                    let top = if at_once { 0 } else { row * v };
                    for y in 0..v {
                        let start = (top + y) * plane.blocks_per_row + column * h;
                        for block in &mut plane.coefficients[start..start + h] {
                            self.block(&mut decoder, index, part, block);
                        }
                    }
                }
            }
            if at_once {
                for plane in planes.iter_mut() {
                    let v = if alone { 1 } else { plane.sampling.1 };
                    plane.transform(row * v);
                }
            }
        }
        Ok(decoder.bits.position())
    }

    fn restart_when_due(&self, decoder: &mut Decoder) {
        if self.restart_interval == 0 {
            return;
        }
        if decoder.left == 0 {
            decoder.restart();
            decoder.left = self.restart_interval;
        }
        decoder.left -= 1;
    }

    #[inline]
    fn block(&self, decoder: &mut Decoder, index: usize, part: &Part, block: &mut [i16; 64]) {
        let Decoder { bits, state, .. } = decoder;
        match (self.pass, part.dc, part.ac) {
            (Pass::Sequential, Some(dc), Some(ac)) => {
                state.means[index] = state.means[index].wrapping_add(bits.difference(dc));
                block[0] = state.means[index] as i16;
                let mut k = 1;
                while k < 64 {
                    let (run, value) = bits.coefficient(ac);
                    if value == 0 && run < 15 {
                        break;
                    }
                    k += run;
                    if value != 0 {
                        block[ORDER[k]] = value as i16;
                    }
                    k += 1;
                }
            }
            (Pass::FirstMean, Some(dc), _) => {
                state.means[index] = state.means[index].wrapping_add(bits.difference(dc));
                block[0] = (state.means[index] << self.shift) as i16;
            }
            (Pass::NextMean, ..) => block[0] |= (bits.bits(1) << self.shift) as i16,
            (Pass::First, _, Some(ac)) => self.first_bits(bits, state, ac, block),
            (Pass::Next, _, Some(ac)) => self.next_bits(bits, state, ac, block),
            // Read as missing tables before.
            _ => {}
        }
    }

    fn first_bits(&self, bits: &mut Bits, state: &mut State, ac: &Table, block: &mut [i16; 64]) {
        if state.ended_blocks > 0 {
            state.ended_blocks -= 1;
            return;
        }
        let mut k = self.band.0;
        while k <= self.band.1 {
            let (run, value) = bits.coefficient(ac);
            if value == 0 && run < 15 {
                state.ended_blocks = (1 << run) - 1 + bits.bits(run as u32);
                break;
            }
            k += run;
            if value != 0 {
                block[ORDER[k]] = (value << self.shift) as i16;
            }
            k += 1;
        }
    }

    fn next_bits(&self, bits: &mut Bits, state: &mut State, ac: &Table, block: &mut [i16; 64]) {
        let (plus, minus) = (1i16 << self.shift, -1i16 << self.shift);
        // A coefficient that is known already gets one more bit.
        let refine = |bits: &mut Bits, value: &mut i16| {
            if bits.bits(1) == 1 && *value & plus == 0 {
                *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
            }
        };
        let mut k = self.band.0;
        if state.ended_blocks == 0 {
            while k <= self.band.1 {
                let symbol = bits.symbol(ac);
                let (mut run, size) = (symbol >> 4, symbol & 15);
                let mut new = 0;
                if size != 0 {
                    new = if bits.bits(1) == 1 { plus } else { minus };
                } else if run < 15 {
                    state.ended_blocks = (1 << run) + bits.bits(run.into());
                    break;
                }
                // Past the zeros of the run, refining what is not zero on the way.
                while k <= self.band.1 {
                    let value = &mut block[ORDER[k]];
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
                    block[ORDER[k]] = new;
                }
                k += 1;
            }
        }
        if state.ended_blocks > 0 {
            for position in ORDER.iter().take(self.band.1 + 1).skip(k) {
                if block[*position] != 0 {
                    refine(bits, &mut block[*position]);
                }
            }
            state.ended_blocks -= 1;
        }
    }
}

/// Where the decoding of a scan stands.
struct Decoder<'a> {
    bits: Bits<'a>,
    state: State,
    /// Units before the next restart.
    left: usize,
    /// The number of the next restart marker.
    next_restart: u8,
}

impl Decoder<'_> {
    /// Goes on after the next restart marker. Where another marker stands, libjpeg's guesses are followed.
    fn restart(&mut self) {
        self.state = State::default();
        let due = self.next_restart;
        self.next_restart = (due + 1) & 7;
        let mut position = self.bits.position();
        while let Some((marker, after)) = self.bits.marker_from(position) {
            position = after;
            match (marker, marker.wrapping_sub(0xD0).wrapping_sub(due) & 7) {
                // Nonsense, or one that was due before: the next may be the right one.
                (0..0xC0, _) | (0xD0..=0xD7, 6 | 7) => continue,
                // One that is due soon, or the end of the scan: data is lost, and it is met again when it is due.
                (0xC0..0xD0 | 0xD8.., _) | (_, 1 | 2) => self.bits.restart(after - 2),
                // The one that is due, or one too far away to make sense of.
                _ => {
                    self.bits.restart(after);
                    self.bits.starved = false;
                }
            }
            return;
        }
    }
}
