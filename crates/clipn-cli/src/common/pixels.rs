//! Arguments for how images become pixels.
use clap::Args;
use clipn::image::{DecodeOptions, PillowVersion, Preprocessing};

/// Which samples of an image are used, and how it is resized.
#[derive(Debug, Clone, Args)]
pub(crate) struct PixelArgs {
    /// Bands that become red, green and blue, such as 3,2,1 for a satellite image; counted from 1
    /// [default: the image's own colors]
    #[arg(long, value_name = "R,G,B", value_parser = parse_bands)]
    pub bands: Option<[u16; 3]>,
    /// Number of bits that 16-bit samples use, such as 12 for many cameras and microscopes [default:
    /// 16; classify and serve refuse images that use fewer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(8..=16))]
    pub sample_bits: Option<u8>,
    /// Version of Pillow whose resize is followed; from 13 on, tall images are rounded otherwise
    #[arg(long, value_name = "12|13", default_value_t)]
    pub pillow: PillowVersion,
}

impl PixelArgs {
    /// Applies the arguments to the preprocessing of a model.
    pub(crate) fn apply(&self, preprocessing: Preprocessing) -> Preprocessing {
        let decode = DecodeOptions {
            bands: self.bands,
            sample_bits: self.sample_bits,
            ..preprocessing.decode
        };
        preprocessing.with_decode(decode).with_pillow(self.pillow)
    }
}

/// Parses three numbers of bands.
fn parse_bands(text: &str) -> Result<[u16; 3], String> {
    let numbers: Option<Vec<u16>> = text
        .split(',')
        .map(|number| number.trim().parse().ok().filter(|number| *number > 0))
        .collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "expected three numbers from 1 on, such as 3,2,1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bands_are_parsed() {
        assert_eq!(parse_bands("3, 2,1"), Ok([3, 2, 1]));
        for invalid in ["", "1,2", "1,2,3,4", "0,1,2", "r,g,b", "1,2,70000"] {
            assert!(parse_bands(invalid).is_err(), "{invalid}");
        }
    }
}
