//! NumPy arrays of numbers: the `.npy` format, versions 1 to 3, as in `numpy.lib.format`. Objects are
//! pickles, and are refused.
//!
//! ```
//! let mut file = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
//! let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
//! file.extend(format!("{header:<69}\n").as_bytes());
//! file.extend([1.5_f32, -2.0].map(f32::to_le_bytes).concat());
//! assert!(file.starts_with(clipn_data::npy::MAGIC));
//! assert_eq!(clipn_data::npy::read_list(&file), Ok(vec![1.5, -2.0]));
//! ```

/// First bytes of every array file.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// Maximum length of the header in bytes; NumPy writes about 128.
const MAX_HEADER: usize = 1 << 16;

/// Number of first bytes of a file that are sure to contain its header.
pub(super) const MAX_PREFIX: u64 = MAX_HEADER as u64 + 12;

/// Kind of the numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
}

/// Element type of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ElementType {
    kind: Kind,
    size: usize,
    big_endian: bool,
}

/// Header of a matrix of floats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MatrixHeader {
    pub rows: usize,
    pub columns: usize,
    /// Bytes of an element: 2, 4 or 8.
    pub size: usize,
    pub big_endian: bool,
    /// Whether columns are contiguous instead of rows.
    pub fortran_order: bool,
    /// Where the values begin in the file.
    pub offset: usize,
}

/// Reads the header of a matrix `[N, D]` of floats from the first bytes of a file; the error says what
/// is wrong.
pub(super) fn matrix_header(bytes: &[u8]) -> Result<MatrixHeader, String> {
    let (header, data) = split(bytes)?;
    let element = element_type(&field(header, "descr")?)?;
    if element.kind != Kind::Float {
        return Err("expected floats of 16, 32 or 64 bits, got integers or booleans".to_owned());
    }
    let shape = field(header, "shape")?;
    let [rows, columns] = dimensions(&shape)
        .and_then(|sizes| <[usize; 2]>::try_from(sizes).ok())
        .ok_or_else(|| format!("expected the shape (N, D), got {shape}"))?;
    Ok(MatrixHeader {
        rows,
        columns,
        size: element.size,
        big_endian: element.big_endian,
        fortran_order: field(header, "fortran_order")? == "True",
        offset: bytes.len() - data.len(),
    })
}

/// Returns the start of a file with `rows` rows of `columns` floats of `size` bytes each, in 128 bytes
/// whatever the numbers are.
pub(super) fn header_of_matrix(rows: u64, columns: usize, size: usize) -> Vec<u8> {
    let text =
        format!("{{'descr': '<f{size}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // 10 bytes before the text, and a newline after it.
    let mut bytes = [MAGIC, &[1, 0], &118_u16.to_le_bytes()].concat();
    bytes.extend(format!("{text:<117}\n").into_bytes());
    bytes
}

/// Reads the values of an array of shape `[N]`, `[N, 1]` or `[1, N]`.
///
/// # Errors
/// What is wrong with the file.
pub fn read_list(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let (header, data) = split(bytes)?;
    let element = element_type(&field(header, "descr")?)?;
    let count = length(&field(header, "shape")?)?;
    let expected = count.checked_mul(element.size);
    if expected != Some(data.len()) {
        return Err(format!(
            "expected {count} values of {} bytes after the header, got {} bytes",
            element.size,
            data.len()
        ));
    }
    data.chunks_exact(element.size)
        .enumerate()
        .map(|(index, bytes)| value(element, bytes).ok_or_else(|| inexact(index)))
        .collect()
}

/// Whether a file has booleans.
pub(super) fn is_boolean(bytes: &[u8]) -> bool {
    let element = split(bytes).and_then(|(header, _)| element_type(&field(header, "descr")?));
    element.is_ok_and(|element| matches!(element.kind, Kind::Bool))
}

fn inexact(index: usize) -> String {
    format!("the integer at index {index} is too large to be an exact score")
}

/// Splits a file into the text of its header and its data.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let damaged = || "the header is damaged".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(format!("expected version 1, 2 or 3, got {other}")),
    };
    if length > MAX_HEADER || length > rest.len() {
        return Err(damaged());
    }
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| damaged())?;
    Ok((header, data))
}

/// Returns the text of a value in the header, a Python dictionary with string keys.
fn field(header: &str, name: &str) -> Result<String, String> {
    let missing = || format!("the header has no `{name}`");
    let start = ['\'', '"']
        .iter()
        .find_map(|quote| header.split_once(&format!("{quote}{name}{quote}")))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .ok_or_else(missing)?
        .trim_start();
    // A value ends at the comma or bracket outside of its own brackets and quotes.
    let (mut depth, mut quote) = (0_usize, None);
    let end = start.char_indices().find(|&(_, c)| match (c, quote) {
        ('\'' | '"', None) => {
            quote = Some(c);
            false
        }
        (_, Some(open)) => {
            quote = (c != open).then_some(open);
            false
        }
        ('(' | '[', None) => {
            depth += 1;
            false
        }
        (')' | ']', None) if depth > 0 => {
            depth -= 1;
            false
        }
        (',' | '}', None) => depth == 0,
        _ => false,
    });
    let (end, _) = end.ok_or_else(missing)?;
    Ok(start[..end].trim().to_owned())
}

fn element_type(descr: &str) -> Result<ElementType, String> {
    let text = descr.trim_matches(['\'', '"']);
    let refused = || match text {
        "<V2" | "|V2" | ">V2" | "bfloat16" => {
            "its type is bfloat16 of ml_dtypes, which NumPy stores without a name".to_owned()
        }
        "|O" => "expected numbers, got Python objects".to_owned(),
        _ => format!("expected floats of up to 64 bits, integers or booleans, got type {descr}"),
    };
    let mut chars = text.chars();
    let big_endian = match chars.next() {
        Some('<' | '|' | '=') => false,
        Some('>') => true,
        _ => return Err(refused()),
    };
    let kind = match chars.next() {
        Some('b') => Kind::Bool,
        Some('i') => Kind::Signed,
        Some('u') => Kind::Unsigned,
        Some('f') => Kind::Float,
        _ => return Err(refused()),
    };
    let size: usize = chars.as_str().parse().map_err(|_| refused())?;
    let sizes: &[usize] = match kind {
        Kind::Bool => &[1],
        Kind::Signed | Kind::Unsigned => &[1, 2, 4, 8],
        Kind::Float => &[2, 4, 8],
    };
    if !sizes.contains(&size) {
        return Err(refused());
    }
    Ok(ElementType {
        kind,
        size,
        big_endian,
    })
}

/// Returns the number of values of a shape with at most one dimension that is not 1.
fn length(shape: &str) -> Result<usize, String> {
    match dimensions(shape).as_deref() {
        Some(&([n] | [n, 1] | [1, n])) => Ok(n),
        _ => Err(format!("expected one dimension, got the shape {shape}")),
    }
}

/// Returns the sizes of a shape such as `(3, 4)`.
fn dimensions(shape: &str) -> Option<Vec<usize>> {
    let inner = shape.strip_prefix('(')?.strip_suffix(')')?;
    inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.trim_end_matches('L').parse().ok())
        .collect()
}

/// Converts the bytes of one number; `None` for an integer that `f64` cannot represent.
fn value(element: ElementType, bytes: &[u8]) -> Option<f64> {
    let mut word = [0_u8; 8];
    for (index, &byte) in bytes.iter().enumerate() {
        let position = if element.big_endian {
            element.size - 1 - index
        } else {
            index
        };
        word[position] = byte;
    }
    let bits = u64::from_le_bytes(word);
    match element.kind {
        Kind::Bool => Some(f64::from(u8::from(bits != 0))),
        Kind::Unsigned => exact(i128::from(bits)),
        Kind::Signed => {
            let unused = 64 - 8 * element.size as u32;
            exact(i128::from(((bits << unused) as i64) >> unused))
        }
        Kind::Float => Some(match element.size {
            2 => from_f16(bits as u16),
            4 => f64::from(f32::from_bits(bits as u32)),
            _ => f64::from_bits(bits),
        }),
    }
}

fn exact(integer: i128) -> Option<f64> {
    let value = integer as f64;
    (value as i128 == integer).then_some(value)
}

/// Widens an IEEE 754 half-precision number.
fn from_f16(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    sign * match exponent {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}  \n")
    }

    #[test]
    fn reads_every_type_and_byte_order() {
        let cases: [(&str, Vec<u8>, f64); 10] = [
            ("<f8", 0.3_f64.to_le_bytes().into(), 0.3),
            (">f8", 0.3_f64.to_be_bytes().into(), 0.3),
            ("<f4", 0.3_f32.to_le_bytes().into(), f64::from(0.3_f32)),
            ("<f2", 0x3555_u16.to_le_bytes().into(), 0.333_251_953_125),
            (">f2", 0x8001_u16.to_be_bytes().into(), -2_f64.powi(-24)),
            ("<i8", (-7_i64).to_le_bytes().into(), -7.0),
            (">i2", (-300_i16).to_be_bytes().into(), -300.0),
            ("|i1", vec![0xff], -1.0),
            ("|u1", vec![0xff], 255.0),
            ("|b1", vec![1], 1.0),
        ];
        for (descr, data, expected) in cases {
            for (version, shape) in [(1, "(1,)"), (2, "(1, 1)"), (3, "(1,)")] {
                let bytes = array(version, &header(descr, shape), &data);
                assert_eq!(read_list(&bytes), Ok(vec![expected]), "{descr} {version}");
            }
        }
        assert!(from_f16(0x7e00).is_nan() && from_f16(0xfc00) == f64::NEG_INFINITY);
    }

    #[test]
    fn the_header_of_a_matrix_reads_back() {
        for (rows, columns, size) in [(0, 1, 4), (3, 512, 2), (u64::from(u32::MAX) * 99, 4096, 8)] {
            let bytes = header_of_matrix(rows, columns, size);
            assert_eq!(bytes.len(), 128);
            let header = matrix_header(&bytes).unwrap();
            assert_eq!(
                (header.rows as u64, header.columns, header.size),
                (rows, columns, size)
            );
            assert_eq!(
                (header.offset, header.big_endian, header.fortran_order),
                (128, false, false)
            );
        }
        let error =
            |descr, shape| matrix_header(&array(1, &header(descr, shape), &[])).unwrap_err();
        assert_eq!(error("<f4", "(3,)"), "expected the shape (N, D), got (3,)");
        assert!(error("<i4", "(3, 4)").contains("got integers"));
    }

    #[test]
    fn refuses_what_is_no_list_of_numbers() {
        let error = |descr: &str, shape: &str, size: usize| {
            read_list(&array(1, &header(descr, shape), &vec![0xff; size])).unwrap_err()
        };
        assert!(error("<f4", "(2, 3)", 24).contains("got the shape (2, 3)"));
        assert!(error("<f4", "()", 4).contains("got the shape ()"));
        assert!(error("<f4", "(3,)", 8).contains("3 values of 4 bytes after the header, got 8"));
        assert!(error("|O", "(1,)", 8).contains("Python objects"));
        assert!(error("<V2", "(1,)", 2).contains("bfloat16"));
        assert!(error("<f16", "(1,)", 16).contains("<f16"));
        assert!(error("<c8", "(1,)", 8).contains("<c8"));
        assert!(error("<u8", "(1,)", 8).contains("index 0"));
        assert!(
            read_list(b"\x93NUMPY\x04\x00")
                .unwrap_err()
                .contains("got 4")
        );
        assert!(read_list(b"\x93NUMPY\x01\x00\xff\xffabc").is_err());
        assert!(read_list(b"").is_err());
    }
}
