//! TIFF decoding with the `tiff` crate: the first image of the file.
//!
//! What the crate does not support is turned into what it does, in a copy of the file: palettes,
//! CIELAB and subsampled YCbCr become plain samples, and bytes with the low bit first are reversed.
mod chunks;
mod color;
mod jpeg;

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek};
use std::ops::RangeInclusive;

use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use self::chunks::{ChunkReader, check_ranges, check_uncompressed, chunk_ranges};
use self::color::{YcbcrConversion, cielab_to_rgb, photometric};
use super::ifd::Directory;
use super::{DecodeOptions, check_size, corrupt, from_io, samples, unsupported};
use crate::error::{ImageError, ImageOrigin};
use crate::rgb::RgbImage;

const NAME: &str = "TIFF";

/// Tags that describe the storage of the image, the only ones that the decoder reads.
const IMAGE_TAGS: RangeInclusive<u16> = 254..=699;

/// No compression.
const UNCOMPRESSED: u16 = 1;

/// Compression with JPEG as in TIFF Technical Note 2.
const JPEG: u16 = 7;

/// Luma coefficients of YCbCr.
const YCBCR_COEFFICIENTS: u16 = 529;

/// Codes of black and white.
const REFERENCE_BLACK_WHITE: u16 = 532;

/// Bytes of a pixel with four bands of 32 bits, the most that an image of colors has.
const PIXEL_BYTES: u64 = 16;

type TiffDecoder<'a> = Decoder<Cursor<&'a [u8]>>;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    check_tag_sizes(bytes)?;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(convert_error)?;
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    check_size(width, height, options)?;
    let pixels = u64::from(width) * u64::from(height);
    let mut decoder = decoder.with_limits(limits(pixels.saturating_mul(PIXEL_BYTES), bytes.len()));
    let storage = Storage::read(&mut decoder)?;
    storage.validate(options)?;
    let sample_bytes = storage.sample_bytes(pixels, (width, height), options)?;
    if storage.compression == JPEG {
        let image = jpeg::decode(bytes, &mut decoder, storage.photometric, options)?;
        return Storage::with_bands(image, options);
    }
    let mut ranges = Vec::new();
    if storage.compression != UNCOMPRESSED {
        ranges = chunk_ranges(&mut decoder)?;
        check_ranges(&ranges, 0, bytes, storage.packed_bytes(pixels))?;
    }
    let file = storage.simplified(bytes, &mut decoder, options)?;
    let mut simple = Decoder::new(ChunkReader::new(&file, &ranges))
        .map_err(convert_error)?
        .with_limits(limits(sample_bytes, file.len()));
    if storage.compression == UNCOMPRESSED {
        check_uncompressed(&mut simple, bytes.len())?;
    }
    let raster = Raster::read(&mut simple, &storage)?;
    let rgb = storage.to_rgb(raster, (bytes, &mut decoder), (width, height), options)?;
    let image = RgbImage::new(width, height, rgb)?;
    if storage.has_plain_bands() {
        return Ok(image);
    }
    Storage::with_bands(image, options)
}

/// Rejects a tag that claims more bytes of values than the file has, for which the decoder would
/// allocate memory.
fn check_tag_sizes(bytes: &[u8]) -> Result<(), ImageError> {
    let directory = Directory::read(bytes);
    let is_too_large = |values: Option<u64>| values.is_none_or(|size| size > bytes.len() as u64);
    let too_many = directory
        .entries
        .iter()
        .find(|entry| IMAGE_TAGS.contains(&entry.tag) && is_too_large(entry.value_bytes()));
    match too_many {
        Some(entry) => Err(corrupt(
            NAME,
            format!("tag {} has more values than the file can hold", entry.tag),
        )),
        None => Ok(()),
    }
}

/// Returns the name of a compression that is not supported.
fn unsupported_compression(compression: u16) -> Option<String> {
    Some(match compression {
        1 | 4 | 5 | JPEG | 8 | 32_773 | 32_946 => return None,
        2 => "CCITT Huffman".to_owned(),
        3 => "CCITT group 3".to_owned(),
        6 => "old-style JPEG".to_owned(),
        33_003 | 33_005 | 34_712 => "JPEG 2000".to_owned(),
        34_676 | 34_677 => "SGI Log".to_owned(),
        34_887 => "LERC".to_owned(),
        34_892 => "lossy DNG".to_owned(),
        34_925 => "LZMA".to_owned(),
        50_000 => "Zstandard".to_owned(),
        50_001 => "WebP".to_owned(),
        50_002 | 52_546 => "JPEG XL".to_owned(),
        other => format!("unknown ({other})"),
    })
}

/// How the samples are stored.
struct Storage {
    photometric: u16,
    compression: u16,
    /// Bits of a sample.
    bits: u8,
    /// Samples of a pixel.
    bands: u16,
    /// Meaning of the first sample beyond those of the color; 1 stands for premultiplied alpha.
    first_extra: Option<u16>,
    sample_format: u16,
    /// Whether the lowest bit of a byte comes first.
    is_low_bit_first: bool,
    /// Horizontal and vertical subsampling of chroma.
    subsampling: (u16, u16),
}

impl Storage {
    fn read(decoder: &mut TiffDecoder<'_>) -> Result<Self, ImageError> {
        let mut list = |tag| decoder.find_tag_unsigned_vec::<u16>(tag);
        let mut first = |tag, default| {
            let values = list(tag).map_err(convert_error)?.unwrap_or_default();
            Ok::<u16, ImageError>(values.first().copied().unwrap_or(default))
        };
        let photometric = first(Tag::PhotometricInterpretation, photometric::BLACK_IS_ZERO)?;
        let (compression, bands) = (first(Tag::Compression, 1)?, first(Tag::SamplesPerPixel, 1)?);
        let (bits, sample_format) = (first(Tag::BitsPerSample, 1)?, first(Tag::SampleFormat, 1)?);
        let is_low_bit_first = first(Tag::FillOrder, 1)? == 2;
        let extra = list(Tag::ExtraSamples).map_err(convert_error)?;
        let subsampling = list(Tag::ChromaSubsampling).map_err(convert_error)?;
        Ok(Self {
            photometric,
            compression,
            bits: u8::try_from(bits).unwrap_or(u8::MAX),
            bands,
            first_extra: extra.and_then(|extra| extra.first().copied()),
            sample_format,
            is_low_bit_first,
            subsampling: match subsampling.as_deref() {
                Some([horizontal, vertical, ..]) => (*horizontal, *vertical),
                _ => (2, 2),
            },
        })
    }

    /// Rejects samples that cannot be shown, and bands that need a choice.
    fn validate(&self, options: &DecodeOptions) -> Result<(), ImageError> {
        let Self { bits, bands, .. } = *self;
        let kind = match self.sample_format {
            2 => format!("signed {bits}-bit samples"),
            3 => format!("{bits}-bit floating-point samples"),
            5 | 6 => format!("{bits}-bit complex samples"),
            _ if !matches!(bits, 1 | 2 | 4 | 8 | 16) => format!("{bits}-bit samples"),
            // Pillow does not read it, either.
            _ if bits == 16 && self.photometric == photometric::PALETTE => {
                "16-bit palette".to_owned()
            }
            _ => String::new(),
        };
        if !kind.is_empty() && self.photometric != photometric::CIELAB {
            return Err(unsupported(NAME, kind));
        }
        if let Some(name) = unsupported_compression(self.compression) {
            return Err(unsupported(NAME, format!("{name} compression")));
        }
        match options.bands {
            Some(selected) if self.has_plain_bands() => samples::check_bands(selected, bands),
            Some(selected) => samples::check_bands(selected, 3),
            // Gray may have alpha.
            None if self.is_gray() && bands > 2 => Err(ImageError::UnclearBands {
                origin: ImageOrigin::Memory,
                bands,
            }),
            None => Ok(()),
        }
    }

    /// Memory of the samples of an image, at least that of an image with four bands of 32 bits.
    fn sample_bytes(
        &self,
        pixels: u64,
        (width, height): (u32, u32),
        options: &DecodeOptions,
    ) -> Result<u64, ImageError> {
        let each = u64::from(self.bands) * u64::from(self.bits).div_ceil(8);
        let bytes = pixels.saturating_mul(each);
        // As much as the largest image of fewer bands.
        if bytes > PIXEL_BYTES.saturating_mul(options.max_pixels) {
            return Err(unsupported(
                NAME,
                format!(
                    "{} bands of {} bits of {width}x{height} pixels, which take {bytes} bytes",
                    self.bands, self.bits
                ),
            ));
        }
        Ok(bytes.max(pixels.saturating_mul(PIXEL_BYTES)))
    }

    /// Bytes of the samples of an image as they are in the file, without compression.
    fn packed_bytes(&self, pixels: u64) -> u64 {
        let bits = u64::from(self.bands) * u64::from(self.bits);
        pixels.saturating_mul(bits).div_ceil(8)
    }

    fn is_gray(&self) -> bool {
        matches!(
            self.photometric,
            photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO
        )
    }

    /// Whether bands are chosen among the samples. Those of other images are their red, green and
    /// blue, which samples give only when converted.
    fn has_plain_bands(&self) -> bool {
        (self.is_gray() || self.photometric == photometric::RGB) && self.compression != JPEG
    }

    /// Selects the bands of an image that is converted to colors.
    fn with_bands(image: RgbImage, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
        match options.bands {
            Some(bands) => samples::select_channels(&image, bands),
            None => Ok(image),
        }
    }

    fn is_subsampled(&self) -> bool {
        self.photometric == photometric::YCBCR && self.subsampling != (1, 1)
    }

    /// Returns the file, or a copy with samples that the `tiff` crate supports.
    fn simplified<'a>(
        &self,
        bytes: &'a [u8],
        decoder: &mut TiffDecoder<'_>,
        options: &DecodeOptions,
    ) -> Result<Cow<'a, [u8]>, ImageError> {
        let mut changes = Vec::new();
        // The `tiff` crate returns only the colors if other bands stand behind them.
        if options.bands.is_some() && self.photometric == photometric::RGB && self.bands > 3 {
            let gray = photometric::BLACK_IS_ZERO.into();
            changes.push((Tag::PhotometricInterpretation.to_u16(), Some(gray)));
            changes.push((Tag::ExtraSamples.to_u16(), None));
        }
        let mut change = |tag: Tag, value: u32| changes.push((tag.to_u16(), Some(value)));
        match self.photometric {
            // Inverted below, by Pillow's rules.
            photometric::WHITE_IS_ZERO | photometric::PALETTE => {
                change(
                    Tag::PhotometricInterpretation,
                    photometric::BLACK_IS_ZERO.into(),
                );
            }
            photometric::CIELAB if (self.bits, self.bands) == (8, 3) => {
                change(Tag::PhotometricInterpretation, photometric::RGB.into());
                change(Tag::SampleFormat, 1);
            }
            _ if self.is_subsampled() => changes = self.units_as_gray(decoder)?,
            _ => {}
        }
        let mut file = Cow::Borrowed(bytes);
        if self.is_low_bit_first {
            let ranges = chunk_ranges(decoder)?;
            reverse_bits(file.to_mut(), ranges);
            changes.push((Tag::FillOrder.to_u16(), Some(1)));
        }
        if changes.is_empty() {
            return Ok(file);
        }
        Ok(Cow::Owned(Directory::read(&file).with_changes(&changes)))
    }

    /// Returns the tags of a gray image whose rows are those of subsampled YCbCr: units of some
    /// luma samples and two of chroma.
    fn units_as_gray(
        &self,
        decoder: &mut TiffDecoder<'_>,
    ) -> Result<Vec<(u16, Option<u32>)>, ImageError> {
        let (horizontal, vertical) = self.subsampling;
        let is_valid = |factor: u16| matches!(factor, 1 | 2 | 4);
        let mut number = |tag| decoder.find_tag_unsigned::<u32>(tag).map_err(convert_error);
        let is_plain = number(Tag::PlanarConfiguration)?.unwrap_or(1) == 1
            && number(Tag::Predictor)?.unwrap_or(1) == 1;
        if !is_valid(horizontal)
            || !is_valid(vertical)
            || !is_plain
            || (self.bits, self.bands) != (8, 3)
        {
            return Err(unsupported(
                NAME,
                format!(
                    "{}-bit YCbCr with {} bands subsampled by {horizontal}x{vertical}",
                    self.bits, self.bands
                ),
            ));
        }
        let unit = u32::from(horizontal * vertical + 2);
        let widened = |width: u32| {
            let units = width.div_ceil(horizontal.into());
            units
                .checked_mul(unit)
                .ok_or_else(|| corrupt(NAME, "too wide"))
        };
        let rows = |rows: u32| rows.div_ceil(vertical.into());
        let mut changes = vec![
            (
                Tag::PhotometricInterpretation,
                photometric::BLACK_IS_ZERO.into(),
            ),
            (Tag::SamplesPerPixel, 1),
            (Tag::BitsPerSample, 8),
        ];
        for tag in [Tag::ImageWidth, Tag::TileWidth] {
            if let Some(width) = number(tag)? {
                changes.push((tag, widened(width)?));
            }
        }
        for tag in [Tag::ImageLength, Tag::TileLength, Tag::RowsPerStrip] {
            if let Some(length) = number(tag)? {
                changes.push((tag, rows(length)));
            }
        }
        let mut changes: Vec<(u16, Option<u32>)> = changes
            .into_iter()
            .map(|(tag, value)| (tag.to_u16(), Some(value)))
            .collect();
        changes.push((Tag::ChromaSubsampling.to_u16(), None));
        Ok(changes)
    }

    /// Converts the samples to RGB.
    fn to_rgb(
        &self,
        raster: Raster,
        (bytes, decoder): (&[u8], &mut TiffDecoder<'_>),
        size: (u32, u32),
        options: &DecodeOptions,
    ) -> Result<Vec<u8>, ImageError> {
        let channels = raster.channels;
        if let Some(bands) = options.bands.filter(|_| self.has_plain_bands()) {
            return select_bands(raster, self.bits, bands, options);
        }
        let samples = match raster.samples {
            Samples::Words(samples) if self.is_gray() => {
                let gray: Vec<u16> = samples.into_iter().step_by(channels).collect();
                return self.wide_gray(&gray, options);
            }
            Samples::Words(samples) => samples::wide_to_bytes(&samples, options)?,
            Samples::Bytes(samples) if self.is_gray() => widened(samples, self.bits),
            Samples::Bytes(samples) => samples,
        };
        match self.photometric {
            photometric::WHITE_IS_ZERO => {
                let inverted: Vec<u8> = samples.into_iter().map(|sample| 255 - sample).collect();
                Ok(samples::first_channel_to_rgb(&inverted, channels))
            }
            photometric::BLACK_IS_ZERO => Ok(samples::first_channel_to_rgb(&samples, channels)),
            photometric::PALETTE => palette_to_rgb(samples, channels, decoder),
            photometric::RGB if channels >= 4 && self.first_extra == Some(1) => {
                Ok(samples::premultiplied_to_rgb(&samples, channels))
            }
            photometric::RGB if channels >= 3 => {
                Ok(samples::first_three_channels(samples, channels))
            }
            photometric::CMYK if channels == 4 => Ok(samples::cmyk_to_rgb(&samples)),
            photometric::YCBCR if self.is_subsampled() => {
                let units = Units {
                    rows: &samples,
                    size: (size.0 as usize, size.1 as usize),
                    factors: (self.subsampling.0.into(), self.subsampling.1.into()),
                };
                units.to_rgb(&ycbcr_conversion(bytes))
            }
            photometric::YCBCR if channels == 3 => {
                let conversion = ycbcr_conversion(bytes);
                let pixels = samples.as_chunks::<3>().0.iter();
                Ok(pixels.flat_map(|pixel| conversion.to_rgb(*pixel)).collect())
            }
            photometric::CIELAB if channels == 3 => {
                let pixels = samples.as_chunks::<3>().0.iter();
                Ok(pixels.flat_map(|pixel| cielab_to_rgb(*pixel)).collect())
            }
            other => Err(unsupported(
                NAME,
                format!("photometric interpretation {other} with {channels} bands"),
            )),
        }
    }

    /// Converts 16-bit gray. Pillow does not invert it where white is zero.
    fn wide_gray(&self, samples: &[u16], options: &DecodeOptions) -> Result<Vec<u8>, ImageError> {
        let is_inverted = self.photometric == photometric::WHITE_IS_ZERO && options.scale_16_bit;
        let mut rgb = samples::gray16_to_rgb(samples, options)?;
        if is_inverted {
            rgb.iter_mut().for_each(|value| *value = 255 - *value);
        }
        Ok(rgb)
    }
}

/// Scales samples of 1, 2 or 4 bits to 8.
fn widened(samples: Vec<u8>, bits: u8) -> Vec<u8> {
    match bits {
        1 | 2 | 4 => {
            let white = 255 / ((1u16 << bits) - 1) as u8;
            samples.into_iter().map(|sample| sample * white).collect()
        }
        _ => samples,
    }
}

/// Returns three of the bands as RGB.
fn select_bands(
    raster: Raster,
    bits: u8,
    bands: [u16; 3],
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    fn select<T: Copy>(samples: &[T], channels: usize, bands: [u16; 3]) -> Vec<T> {
        let pixels = samples.chunks_exact(channels);
        pixels
            .flat_map(|pixel| bands.map(|band| pixel[usize::from(band) - 1]))
            .collect()
    }
    samples::check_bands(bands, raster.channels as u16)?;
    match raster.samples {
        Samples::Bytes(samples) => Ok(widened(select(&samples, raster.channels, bands), bits)),
        Samples::Words(samples) => {
            samples::wide_to_bytes(&select(&samples, raster.channels, bands), options)
        }
    }
}

/// Converts indices of a palette to RGB. The palette is that of `decoder`.
fn palette_to_rgb(
    samples: Vec<u8>,
    channels: usize,
    decoder: &mut TiffDecoder<'_>,
) -> Result<Vec<u8>, ImageError> {
    let color_map = decoder
        .find_tag_unsigned_vec::<u16>(Tag::ColorMap)
        .map_err(convert_error)?;
    let color_map = color_map.ok_or_else(|| corrupt(NAME, "palette image without a color map"))?;
    let indices: Vec<u8> = samples.into_iter().step_by(channels).collect();
    // The color map has all reds, then all greens, then all blues, with 16 bits each.
    let count = color_map.len() / 3;
    let channel = |index: usize, channel: usize| (color_map[channel * count + index] >> 8) as u8;
    let palette: Vec<u8> = (0..count)
        .flat_map(|index| std::array::from_fn::<u8, 3, _>(|c| channel(index, c)))
        .collect();
    Ok(samples::palette_to_rgb(&indices, &palette))
}

/// Returns the conversion with the coefficients and reference codes of the file.
fn ycbcr_conversion(bytes: &[u8]) -> YcbcrConversion {
    let directory = Directory::read(bytes);
    let ratios = |tag| directory.ratios(directory.entry(tag)?);
    let coefficients = ratios(YCBCR_COEFFICIENTS).and_then(|ratios| ratios.try_into().ok());
    let reference = ratios(REFERENCE_BLACK_WHITE).and_then(|ratios| ratios.try_into().ok());
    YcbcrConversion::new(
        coefficients.unwrap_or(YcbcrConversion::COEFFICIENTS),
        reference.unwrap_or(YcbcrConversion::REFERENCE),
    )
}

/// Rows of subsampled YCbCr: each unit has the luma of a block of pixels, Cb and Cr.
struct Units<'a> {
    rows: &'a [u8],
    /// Width and height in pixels.
    size: (usize, usize),
    /// Width and height of a block.
    factors: (usize, usize),
}

impl Units<'_> {
    /// Converts to RGB; all pixels of a block have its chroma, as in libtiff.
    fn to_rgb(&self, conversion: &YcbcrConversion) -> Result<Vec<u8>, ImageError> {
        let ((width, height), (block_width, block_height)) = (self.size, self.factors);
        let unit = block_width * block_height + 2;
        let row_length = width.div_ceil(block_width) * unit;
        if self.rows.len() < row_length * height.div_ceil(block_height) {
            return Err(corrupt(NAME, "subsampled rows do not match the image size"));
        }
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let row = &self.rows[y / block_height * row_length..][..row_length];
            let units = row.chunks_exact(unit);
            for (column, unit) in units.enumerate() {
                let (luma, chroma) = unit.split_at(unit.len() - 2);
                let luma = &luma[y % block_height * block_width..][..block_width];
                let rest = width - column * block_width;
                for y in luma.iter().take(rest) {
                    rgb.extend(conversion.to_rgb([*y, chroma[0], chroma[1]]));
                }
            }
        }
        Ok(rgb)
    }
}

/// Reverses the bits of the bytes in `ranges`, once where they overlap.
fn reverse_bits(file: &mut [u8], mut ranges: Vec<std::ops::Range<usize>>) {
    ranges.sort_by_key(|range| range.start);
    let mut done = 0;
    for range in ranges {
        let end = range.end.min(file.len());
        let start = range.start.max(done).min(end);
        file[start..end]
            .iter_mut()
            .for_each(|byte| *byte = byte.reverse_bits());
        done = done.max(end);
    }
}

/// Returns the memory limits for an image with `sample_bytes` of samples in a file of `file_size` bytes.
fn limits(sample_bytes: u64, file_size: usize) -> Limits {
    let mut limits = Limits::default();
    // Values of tags count as well: a color map is larger than a small image.
    let image_bytes = sample_bytes.saturating_add(1 << 20);
    limits.decoding_buffer_size = usize::try_from(image_bytes).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size.saturating_add(16 << 20);
    limits.ifd_value_size = file_size.max(1 << 20);
    limits
}

/// Samples of at most 8 bits, or of 16 bits.
enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

/// Samples of an image, interleaved by pixel.
struct Raster {
    samples: Samples,
    channels: usize,
}

impl Raster {
    fn read<R: Read + Seek>(
        decoder: &mut Decoder<R>,
        storage: &Storage,
    ) -> Result<Self, ImageError> {
        let bits = storage.bits;
        let (width, height) = decoder.dimensions().map_err(convert_error)?;
        let (width, height) = (width as usize, height as usize);
        let mut buffer = DecodingResult::U8(Vec::new());
        let layout = decoder
            .read_image_to_buffer(&mut buffer)
            .map_err(convert_error)?;
        if buffer.as_buffer(0).as_bytes().len() < layout.complete_len {
            return Err(corrupt(NAME, "planes do not fit into memory"));
        }
        let plane_bytes = layout.plane_stride.map_or(0, std::num::NonZero::get);
        let samples = match buffer {
            DecodingResult::U8(samples) if matches!(bits, 1 | 2 | 4) => {
                // The bands of a pixel follow each other without padding, unless they are in planes.
                let (bands, plane) = match layout.planes {
                    0 | 1 => (usize::from(storage.bands), 0),
                    _ => (1, width * height),
                };
                let samples = unpack(&samples, width * bands, bits);
                Samples::Bytes(interleave_planes(samples, layout.planes, plane))
            }
            DecodingResult::U8(samples) if bits == 8 => {
                Samples::Bytes(interleave_planes(samples, layout.planes, plane_bytes))
            }
            DecodingResult::U16(samples) if bits == 16 => {
                Samples::Words(interleave_planes(samples, layout.planes, plane_bytes / 2))
            }
            _ => {
                return Err(unsupported(
                    NAME,
                    format!("expected integer samples of 1, 2, 4, 8 or 16 bits, got {bits} bits"),
                ));
            }
        };
        let length = match &samples {
            Samples::Bytes(samples) => samples.len(),
            Samples::Words(samples) => samples.len(),
        };
        let channels = length / (width * height);
        if channels == 0 || length % (width * height) != 0 {
            return Err(corrupt(
                NAME,
                format!("{length} samples do not match {width}x{height} pixels"),
            ));
        }
        Ok(Self { samples, channels })
    }
}

/// Unpacks rows of `row_samples` samples to one byte each; every row starts at a byte boundary.
fn unpack(packed: &[u8], row_samples: usize, bits: u8) -> Vec<u8> {
    let row_bytes = (row_samples * usize::from(bits)).div_ceil(8);
    packed
        .chunks_exact(row_bytes)
        .flat_map(|row| samples::unpack_row(row, row_samples, bits))
        .collect()
}

/// Interleaves consecutive planes of `plane` samples by pixel.
fn interleave_planes<T: Copy>(samples: Vec<T>, planes: usize, plane: usize) -> Vec<T> {
    if planes <= 1 || plane == 0 {
        return samples;
    }
    (0..plane)
        .flat_map(|index| samples[index..].iter().step_by(plane).take(planes))
        .copied()
        .collect()
}

/// Converts an error of the `tiff` crate.
fn convert_error(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) => from_io(NAME, &error),
        TiffError::UnsupportedError(error) => unsupported(NAME, error),
        TiffError::LimitsExceeded => corrupt(NAME, "parts are larger than the image size allows"),
        error => corrupt(NAME, error),
    }
}
