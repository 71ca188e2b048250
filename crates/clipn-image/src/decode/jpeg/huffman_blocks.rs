//! Blocks of Huffman-coded scans (T.81 F.2.2 and G.2).
use super::huffman::{BitPosition, BitReader, END_OF_BAND, HuffmanTable, Segment};
use super::scan::{BlockDecoder, Procedure, Scan};
use super::tables::ZIGZAG;

/// Decoder of the blocks of a Huffman-coded scan.
pub(super) struct HuffmanBlocks<'a> {
    file: &'a [u8],
    segment: Segment,
    bits: BitPosition,
    /// DC prediction of each scan component (PRED).
    dc_predictors: [i32; 4],
    /// Number of following blocks without further coefficients in the band (EOBRUN).
    eob_run: u32,
}

impl<'a> HuffmanBlocks<'a> {
    /// Creates a decoder of the entropy-coded segments at `position`.
    pub(super) fn new(file: &'a [u8], position: usize) -> Self {
        let mut segment = Segment::default();
        segment.read(file, position);
        Self {
            file,
            segment,
            bits: BitPosition::default(),
            dc_predictors: [0; 4],
            eob_run: 0,
        }
    }
}

impl BlockDecoder for HuffmanBlocks<'_> {
    #[inline(always)]
    fn decode_block(&mut self, scan: &Scan, index: usize, block: &mut [i16; 64]) {
        let component = &scan.components[index];
        let predictor = &mut self.dc_predictors[index];
        let mut bits = BitReader::new(&self.segment, self.bits);
        match (scan.procedure, component.dc, component.ac) {
            (Procedure::Sequential, Some(dc), Some(ac)) => {
                decode_sequential(&mut bits, predictor, dc, ac, block);
            }
            (Procedure::DcFirst, Some(dc), _) => {
                *predictor = predictor.wrapping_add(bits.dc_difference(dc));
                block[0] = (*predictor << scan.point_transform) as i16;
            }
            (Procedure::DcRefine, ..) => {
                block[0] |= (bits.receive(1) << scan.point_transform) as i16;
            }
            (Procedure::AcFirst, _, Some(ac)) => {
                decode_ac_first(scan, &mut bits, &mut self.eob_run, ac, block);
            }
            (Procedure::AcRefine, _, Some(ac)) => {
                decode_ac_refine(scan, &mut bits, &mut self.eob_run, ac, block);
            }
            // `Scan::read` rejects scans with missing tables.
            _ => {}
        }
        self.bits = bits.stop();
    }

    fn restart(&mut self, position: Option<usize>, is_expected: bool) {
        self.dc_predictors = [0; 4];
        self.eob_run = 0;
        let insufficient_data = match position {
            Some(_) => self.bits.insufficient_data && !is_expected,
            None => true,
        };
        // Without a marker, the next restart need not search the same bytes again.
        let position = position.unwrap_or(self.file.len());
        self.segment.read(self.file, position);
        self.bits = BitPosition::default();
        self.bits.insufficient_data = insufficient_data;
    }

    fn is_exhausted(&self) -> bool {
        self.bits.insufficient_data
    }

    fn position(&self) -> usize {
        self.segment.end()
    }

    fn consumed(&self) -> usize {
        self.segment.consumed(&self.bits)
    }
}

/// Decodes all coefficients of a block (T.81 F.2.2).
#[inline(always)]
fn decode_sequential(
    bits: &mut BitReader,
    dc_predictor: &mut i32,
    dc: &HuffmanTable,
    ac: &HuffmanTable,
    block: &mut [i16; 64],
) {
    *dc_predictor = dc_predictor.wrapping_add(bits.dc_difference(dc));
    block[0] = *dc_predictor as i16;
    let mut k = 1;
    while k < 64 {
        let (run, value) = bits.ac_coefficient(ac);
        k += run;
        if k >= END_OF_BAND {
            break;
        }
        // A repeated scan keeps what it has no value for.
        if value != 0 {
            block[ZIGZAG[k]] = value;
        }
        k += 1;
    }
}

/// Decodes the first scan of a band of AC coefficients (T.81 G.1.2.2).
#[inline(always)]
fn decode_ac_first(
    scan: &Scan,
    bits: &mut BitReader,
    eob_run: &mut u32,
    ac: &HuffmanTable,
    block: &mut [i16; 64],
) {
    if *eob_run > 0 {
        *eob_run -= 1;
        return;
    }
    let mut k = scan.band.0;
    while k <= scan.band.1 {
        let (run, value) = bits.ac_coefficient(ac);
        if let Some(size) = run.checked_sub(END_OF_BAND) {
            *eob_run = (1 << size) - 1 + bits.receive(size as u32);
            break;
        }
        k += run;
        if value != 0 {
            block[ZIGZAG[k]] = value << scan.point_transform;
        }
        k += 1;
    }
}

/// Decodes a refinement scan of a band of AC coefficients (T.81 G.1.2.3).
#[inline(always)]
fn decode_ac_refine(
    scan: &Scan,
    bits: &mut BitReader,
    eob_run: &mut u32,
    ac: &HuffmanTable,
    block: &mut [i16; 64],
) {
    let (plus, minus) = (1i16 << scan.point_transform, -1i16 << scan.point_transform);
    // A coefficient with nonzero history gets a correction bit.
    let refine = |bits: &mut BitReader, value: &mut i16| {
        if bits.receive(1) == 1 && *value & plus == 0 {
            *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
        }
    };
    let mut k = scan.band.0;
    if *eob_run == 0 {
        while k <= scan.band.1 {
            let symbol = bits.decode(ac);
            let (mut run, size) = (symbol >> 4, symbol & 15);
            let mut new = 0;
            if size != 0 {
                new = if bits.receive(1) == 1 { plus } else { minus };
            } else if run < 15 {
                *eob_run = (1 << run) + bits.receive(run.into());
                break;
            }
            // Skip the zeros of the run and refine the nonzero coefficients on the way.
            while k <= scan.band.1 {
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
    if *eob_run > 0 {
        for position in ZIGZAG.iter().take(scan.band.1 + 1).skip(k) {
            if block[*position] != 0 {
                refine(bits, &mut block[*position]);
            }
        }
        *eob_run -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_zeros_keeps_the_coefficients_of_an_earlier_scan() {
        // DC: 0 -> no difference. AC: 0 -> ZRL, 10 -> EOB.
        let mut counts = [0; 16];
        counts[0] = 1;
        let dc = HuffmanTable::new(&counts, &[0]).unwrap();
        counts[1] = 1;
        let ac = HuffmanTable::new(&counts, &[0xF0, 0]).unwrap();
        let mut segment = Segment::default();
        segment.read(&[0b0010_0000], 0);
        let mut bits = BitReader::new(&segment, BitPosition::default());
        let mut block = [7; 64];
        decode_sequential(&mut bits, &mut 0, &dc, &ac, &mut block);
        assert_eq!(block[0], 0);
        assert_eq!(block[1..], [7; 63]);
    }
}
