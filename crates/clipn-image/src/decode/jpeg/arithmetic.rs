//! Arithmetic-coded scans (T.81 Annex D, F.1.4 and G.1.3).
use super::scan::{BlockDecoder, Procedure, Scan};
use super::tables::{Conditioning, ZIGZAG};

/// Number of statistics bins of a DC table (T.81 Table F.4).
const DC_BINS: usize = 64;

/// Number of statistics bins of an AC table (T.81 Table F.5).
const AC_BINS: usize = 256;

/// Number of table destinations of a class.
const DESTINATIONS: usize = 16;

/// Bin with a fixed probability of one half, for signs and corrections.
const FIXED_BIN: usize = DESTINATIONS * (DC_BINS + AC_BINS);

/// State of the fixed bin: an entry of [`STATES`] that leads to itself.
const FIXED_STATE: u8 = 113;

/// First bin of the magnitude categories of DC differences (X1).
const DC_CATEGORIES: usize = 20;

/// First bins of the magnitude categories of AC coefficients of low and high frequencies (X2).
const AC_CATEGORIES: (usize, usize) = (189, 217);

/// Distance of the bin of a magnitude's lower bits from that of its category.
const MAGNITUDE_BITS: usize = 14;

/// Magnitude from which a difference or coefficient is not valid.
const MAX_MAGNITUDE: u32 = 0x8000;

/// Value of the probability interval below which it is doubled.
const HALF_INTERVAL: u32 = 0x8000;

/// State of a probability estimate (T.81 Table D.3).
struct ProbabilityState {
    /// Probability of the less probable symbol (Qe).
    less_probable: u32,
    /// Next state after the less probable symbol.
    next_less: u8,
    /// Next state after the more probable symbol.
    next_more: u8,
    /// Whether the symbols change their roles after the less probable one.
    switches: bool,
}

const fn state(less_probable: u32, next_less: u8, next_more: u8, switches: u8) -> ProbabilityState {
    ProbabilityState {
        less_probable,
        next_less,
        next_more,
        switches: switches == 1,
    }
}

/// States of the probability estimation (T.81 Table D.3), and a fixed one at the end (T.851).
#[rustfmt::skip]
static STATES: [ProbabilityState; 114] = [
    state(0x5A1D, 1, 1, 1), state(0x2586, 14, 2, 0), state(0x1114, 16, 3, 0),
    state(0x080B, 18, 4, 0), state(0x03D8, 20, 5, 0), state(0x01DA, 23, 6, 0),
    state(0x00E5, 25, 7, 0), state(0x006F, 28, 8, 0), state(0x0036, 30, 9, 0),
    state(0x001A, 33, 10, 0), state(0x000D, 35, 11, 0), state(0x0006, 9, 12, 0),
    state(0x0003, 10, 13, 0), state(0x0001, 12, 13, 0), state(0x5A7F, 15, 15, 1),
    state(0x3F25, 36, 16, 0), state(0x2CF2, 38, 17, 0), state(0x207C, 39, 18, 0),
    state(0x17B9, 40, 19, 0), state(0x1182, 42, 20, 0), state(0x0CEF, 43, 21, 0),
    state(0x09A1, 45, 22, 0), state(0x072F, 46, 23, 0), state(0x055C, 48, 24, 0),
    state(0x0406, 49, 25, 0), state(0x0303, 51, 26, 0), state(0x0240, 52, 27, 0),
    state(0x01B1, 54, 28, 0), state(0x0144, 56, 29, 0), state(0x00F5, 57, 30, 0),
    state(0x00B7, 59, 31, 0), state(0x008A, 60, 32, 0), state(0x0068, 62, 33, 0),
    state(0x004E, 63, 34, 0), state(0x003B, 32, 35, 0), state(0x002C, 33, 9, 0),
    state(0x5AE1, 37, 37, 1), state(0x484C, 64, 38, 0), state(0x3A0D, 65, 39, 0),
    state(0x2EF1, 67, 40, 0), state(0x261F, 68, 41, 0), state(0x1F33, 69, 42, 0),
    state(0x19A8, 70, 43, 0), state(0x1518, 72, 44, 0), state(0x1177, 73, 45, 0),
    state(0x0E74, 74, 46, 0), state(0x0BFB, 75, 47, 0), state(0x09F8, 77, 48, 0),
    state(0x0861, 78, 49, 0), state(0x0706, 79, 50, 0), state(0x05CD, 48, 51, 0),
    state(0x04DE, 50, 52, 0), state(0x040F, 50, 53, 0), state(0x0363, 51, 54, 0),
    state(0x02D4, 52, 55, 0), state(0x025C, 53, 56, 0), state(0x01F8, 54, 57, 0),
    state(0x01A4, 55, 58, 0), state(0x0160, 56, 59, 0), state(0x0125, 57, 60, 0),
    state(0x00F6, 58, 61, 0), state(0x00CB, 59, 62, 0), state(0x00AB, 61, 63, 0),
    state(0x008F, 61, 32, 0), state(0x5B12, 65, 65, 1), state(0x4D04, 80, 66, 0),
    state(0x412C, 81, 67, 0), state(0x37D8, 82, 68, 0), state(0x2FE8, 83, 69, 0),
    state(0x293C, 84, 70, 0), state(0x2379, 86, 71, 0), state(0x1EDF, 87, 72, 0),
    state(0x1AA9, 87, 73, 0), state(0x174E, 72, 74, 0), state(0x1424, 72, 75, 0),
    state(0x119C, 74, 76, 0), state(0x0F6B, 74, 77, 0), state(0x0D51, 75, 78, 0),
    state(0x0BB6, 77, 79, 0), state(0x0A40, 77, 48, 0), state(0x5832, 80, 81, 1),
    state(0x4D1C, 88, 82, 0), state(0x438E, 89, 83, 0), state(0x3BDD, 90, 84, 0),
    state(0x34EE, 91, 85, 0), state(0x2EAE, 92, 86, 0), state(0x299A, 93, 87, 0),
    state(0x2516, 86, 71, 0), state(0x5570, 88, 89, 1), state(0x4CA9, 95, 90, 0),
    state(0x44D9, 96, 91, 0), state(0x3E22, 97, 92, 0), state(0x3824, 99, 93, 0),
    state(0x32B4, 99, 94, 0), state(0x2E17, 93, 86, 0), state(0x56A8, 95, 96, 1),
    state(0x4F46, 101, 97, 0), state(0x47E5, 102, 98, 0), state(0x41CF, 103, 99, 0),
    state(0x3C3D, 104, 100, 0), state(0x375E, 99, 93, 0), state(0x5231, 105, 102, 0),
    state(0x4C0F, 106, 103, 0), state(0x4639, 107, 104, 0), state(0x415E, 103, 99, 0),
    state(0x5627, 105, 106, 1), state(0x50E7, 108, 107, 0), state(0x4B85, 109, 103, 0),
    state(0x5597, 110, 109, 0), state(0x504F, 111, 107, 0), state(0x5A10, 110, 111, 1),
    state(0x5522, 112, 109, 0), state(0x59EB, 112, 111, 1), state(0x5A1D, 113, 113, 0),
];

/// Adaptive binary arithmetic decoder (T.81 D.2).
struct BinaryDecoder<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Whether the marker after the segment was reached. It is searched once: any number of fill bytes may be
    /// before it.
    is_at_marker: bool,
    /// Code register (C).
    code: u32,
    /// Probability interval (A).
    interval: u32,
    /// Shifts before the next byte is read (CT); negative while the first bytes are read.
    shifts: i32,
    /// Index of the state of each bin, with the more probable symbol in the highest bit.
    bins: [u8; FIXED_BIN + 1],
}

impl<'a> BinaryDecoder<'a> {
    fn new(bytes: &'a [u8], position: usize) -> Self {
        let mut bins = [0; FIXED_BIN + 1];
        bins[FIXED_BIN] = FIXED_STATE;
        Self {
            bytes,
            position,
            is_at_marker: false,
            code: 0,
            interval: 0,
            shifts: -16,
            bins,
        }
    }

    /// Reads the next byte without stuffed zeros; zeros from the next marker on (T.81 D.2.6).
    fn next_byte(&mut self) -> u32 {
        if self.is_at_marker {
            return 0;
        }
        let Some(byte) = self.bytes.get(self.position) else {
            return 0;
        };
        if *byte == 0xFF {
            let fill = self.bytes[self.position..].iter();
            let code = self.position + fill.take_while(|byte| **byte == 0xFF).count();
            if self.bytes.get(code) != Some(&0) {
                self.is_at_marker = true;
                return 0;
            }
            self.position = code;
        }
        self.position += 1;
        u32::from(*byte)
    }

    /// Doubles the interval until it is at least one half, and reads bytes on the way (T.81 D.2.6).
    /// The first two bytes are read here, too.
    #[inline(always)]
    fn renormalize(&mut self) {
        while self.interval < HALF_INTERVAL {
            self.shifts -= 1;
            if self.shifts < 0 {
                self.code = self.code << 8 | self.next_byte();
                self.shifts += 8;
                if self.shifts < 0 {
                    self.shifts += 1;
                    if self.shifts == 0 {
                        self.interval = HALF_INTERVAL;
                    }
                }
            }
            self.interval <<= 1;
        }
    }

    /// Decodes a binary decision (DECODE, T.81 D.2.4), with the statistics of `bin`.
    #[inline(always)]
    fn decode(&mut self, bin: usize) -> bool {
        self.renormalize();
        let value = self.bins[bin];
        let symbol = value & 0x80;
        let state = &STATES[usize::from(value & 0x7F)];
        let less_probable = state.less_probable;
        self.interval -= less_probable;
        let bound = self.interval << self.shifts;
        let is_upper = self.code >= bound;
        if !is_upper && self.interval >= HALF_INTERVAL {
            return symbol != 0;
        }
        // The smaller of the two parts of the interval belongs to the less probable symbol.
        let is_less_probable = is_upper != (self.interval < less_probable);
        if is_upper {
            self.code -= bound;
            self.interval = less_probable;
        }
        if is_less_probable {
            let switched = if state.switches {
                symbol ^ 0x80
            } else {
                symbol
            };
            self.bins[bin] = switched | state.next_less;
            symbol == 0
        } else {
            self.bins[bin] = symbol | state.next_more;
            symbol != 0
        }
    }

    /// Decodes the bits below the highest of a magnitude (T.81 Figure F.24).
    fn magnitude_bits(&mut self, highest: u32, bin: usize) -> u32 {
        let (mut magnitude, mut bit) = (highest, highest >> 1);
        while bit > 0 {
            if self.decode(bin) {
                magnitude |= bit;
            }
            bit >>= 1;
        }
        magnitude
    }

    /// Doubles `magnitude` for each category that follows, whose bins start at `bin` (T.81 Figure
    /// F.23). Returns the magnitude and the bin of the last category; `None` if it is not valid.
    fn category(&mut self, mut magnitude: u32, mut bin: usize) -> Option<(u32, usize)> {
        while self.decode(bin) {
            magnitude <<= 1;
            if magnitude == MAX_MAGNITUDE {
                return None;
            }
            bin += 1;
        }
        Some((magnitude, bin))
    }
}

/// Returns `magnitude + 1` with the sign.
fn signed(magnitude: u32, is_negative: bool) -> i32 {
    let value = magnitude as i32 + 1;
    if is_negative { -value } else { value }
}

/// First bin of a DC table.
fn dc_table(destination: usize) -> usize {
    destination * DC_BINS
}

/// First bin of an AC table.
fn ac_table(destination: usize) -> usize {
    DESTINATIONS * DC_BINS + destination * AC_BINS
}

/// Decoder of the blocks of an arithmetic-coded scan.
pub(super) struct ArithmeticBlocks<'a> {
    decoder: BinaryDecoder<'a>,
    conditioning: &'a Conditioning,
    /// DC prediction of each scan component (PRED).
    dc_predictors: [i32; 4],
    /// Bin offset of each scan component by its last DC difference (T.81 F.1.4.4.1.2).
    dc_contexts: [usize; 4],
    /// Whether the data was not valid: blocks are skipped until the next restart, as in libjpeg.
    is_damaged: bool,
}

impl<'a> ArithmeticBlocks<'a> {
    /// Creates a decoder of the entropy-coded segments at `position`.
    pub(super) fn new(bytes: &'a [u8], position: usize, conditioning: &'a Conditioning) -> Self {
        Self {
            decoder: BinaryDecoder::new(bytes, position),
            conditioning,
            dc_predictors: [0; 4],
            dc_contexts: [0; 4],
            is_damaged: false,
        }
    }

    /// Decodes the DC coefficient of the next block (T.81 F.1.4.1); `None` if the data is not
    /// valid.
    fn dc_coefficient(&mut self, destination: usize, index: usize) -> Option<i32> {
        let table = dc_table(destination);
        let context = table + self.dc_contexts[index];
        let decoder = &mut self.decoder;
        if !decoder.decode(context) {
            self.dc_contexts[index] = 0;
            return Some(self.dc_predictors[index]);
        }
        let is_negative = decoder.decode(context + 1);
        let sign = usize::from(is_negative);
        let bin = context + 2 + sign;
        let (highest, bin) = match decoder.decode(bin) {
            false => (0, bin),
            true => decoder.category(1, table + DC_CATEGORIES)?,
        };
        let (lower, upper) = self.conditioning.dc[destination];
        self.dc_contexts[index] = if highest < (1 << lower) >> 1 {
            0
        } else if highest > (1 << upper) >> 1 {
            12 + sign * 4
        } else {
            4 + sign * 4
        };
        let magnitude = decoder.magnitude_bits(highest, bin + MAGNITUDE_BITS);
        let difference = signed(magnitude, is_negative);
        self.dc_predictors[index] = self.dc_predictors[index].wrapping_add(difference);
        Some(self.dc_predictors[index])
    }

    /// Decodes the AC coefficients of a band (T.81 F.1.4.2), shifted left by `shift`; `None` if the
    /// data is not valid.
    fn ac_coefficients(
        &mut self,
        destination: usize,
        band: (usize, usize),
        shift: u32,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let table = ac_table(destination);
        let low_frequencies = usize::from(self.conditioning.ac[destination]);
        let decoder = &mut self.decoder;
        let mut k = band.0;
        while k <= band.1 {
            let mut bin = table + 3 * (k - 1);
            // End of block.
            if decoder.decode(bin) {
                break;
            }
            while !decoder.decode(bin + 1) {
                (bin, k) = (bin + 3, k + 1);
                if k > band.1 {
                    return None;
                }
            }
            let is_negative = decoder.decode(FIXED_BIN);
            bin += 2;
            let mut highest = 0;
            if decoder.decode(bin) {
                highest = 1;
                if decoder.decode(bin) {
                    let categories = match k <= low_frequencies {
                        true => AC_CATEGORIES.0,
                        false => AC_CATEGORIES.1,
                    };
                    (highest, bin) = decoder.category(2, table + categories)?;
                }
            }
            let magnitude = decoder.magnitude_bits(highest, bin + MAGNITUDE_BITS);
            block[ZIGZAG[k]] = (signed(magnitude, is_negative) << shift) as i16;
            k += 1;
        }
        Some(())
    }

    /// Decodes a refinement of AC coefficients (T.81 G.1.3.3); `None` if the data is not valid.
    fn ac_refinement(
        &mut self,
        destination: usize,
        band: (usize, usize),
        shift: u32,
        block: &mut [i16; 64],
    ) -> Option<()> {
        let (plus, minus) = (1i16 << shift, -1i16 << shift);
        let table = ac_table(destination);
        let decoder = &mut self.decoder;
        // Last coefficient that earlier scans made nonzero (EOBx).
        let known = (1..=band.1).rev().find(|k| block[ZIGZAG[*k]] != 0);
        let known = known.unwrap_or(0);
        let mut k = band.0;
        while k <= band.1 {
            let mut bin = table + 3 * (k - 1);
            if k > known && decoder.decode(bin) {
                break;
            }
            loop {
                let value = &mut block[ZIGZAG[k]];
                if *value != 0 {
                    if decoder.decode(bin + 2) {
                        *value = value.wrapping_add(if *value < 0 { minus } else { plus });
                    }
                    break;
                }
                if decoder.decode(bin + 1) {
                    *value = if decoder.decode(FIXED_BIN) {
                        minus
                    } else {
                        plus
                    };
                    break;
                }
                (bin, k) = (bin + 3, k + 1);
                if k > band.1 {
                    return None;
                }
            }
            k += 1;
        }
        Some(())
    }

    /// Decodes the next block; `None` if the data is not valid.
    fn decode_valid(&mut self, scan: &Scan, index: usize, block: &mut [i16; 64]) -> Option<()> {
        let (dc, ac) = scan.components[index].destinations;
        let shift = scan.point_transform;
        match scan.procedure {
            Procedure::Sequential => {
                block[0] = self.dc_coefficient(dc, index)? as i16;
                self.ac_coefficients(ac, (1, 63), 0, block)
            }
            Procedure::DcFirst => {
                block[0] = (self.dc_coefficient(dc, index)? << shift) as i16;
                Some(())
            }
            Procedure::DcRefine => {
                if self.decoder.decode(FIXED_BIN) {
                    block[0] |= 1 << shift;
                }
                Some(())
            }
            Procedure::AcFirst => self.ac_coefficients(ac, scan.band, shift, block),
            Procedure::AcRefine => self.ac_refinement(ac, scan.band, shift, block),
        }
    }
}

impl BlockDecoder for ArithmeticBlocks<'_> {
    #[inline]
    fn decode_block(&mut self, scan: &Scan, index: usize, block: &mut [i16; 64]) {
        if !self.is_damaged {
            self.is_damaged = self.decode_valid(scan, index, block).is_none();
        }
    }

    fn restart(&mut self, position: Option<usize>, _: bool) {
        let position = position.unwrap_or(self.decoder.bytes.len());
        *self = Self::new(self.decoder.bytes, position, self.conditioning);
    }

    fn is_exhausted(&self) -> bool {
        self.is_damaged
    }

    fn is_known_to_be_short(&self) -> bool {
        false
    }

    fn position(&self) -> usize {
        self.decoder.position
    }

    fn consumed(&self) -> usize {
        self.decoder.position
    }
}
