//! Images of Python: paths, bytes, PIL images and arrays.

use std::path::PathBuf;

use clipn::image::{
    DecodeOptions, ImageError, ImageSource, PillowVersion, Preprocessing, RgbImage,
    apply_exif_orientation,
};
use clipn::progress::Progress;
use numpy::{PyArray1, PyArray4, PyArrayMethods, PyReadonlyArray3};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use rayon::prelude::*;

use crate::errors::{IntoException, OrRaise, invalid};
use crate::interrupt::{Reporter, run_in_any_process};
use crate::process;

/// An image that was given from Python.
#[derive(Debug, Clone)]
pub(crate) enum InputImage {
    Path(PathBuf),
    Bytes(Vec<u8>),
    Pixels {
        image: RgbImage,
        /// EXIF orientation of a PIL image, which has not been applied.
        orientation: u64,
    },
}

impl InputImage {
    /// Converts an object: a path, encoded bytes, a PIL image, or an array `[H, W]`, `[H, W, 3]` or
    /// `[H, W, 4]` of `uint8`.
    pub(crate) fn extract(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.as_bytes().to_vec()));
        }
        if object.is_instance_of::<PyByteArray>() {
            return Ok(Self::Bytes(object.extract()?));
        }
        if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
            return Ok(Self::Path(object.extract()?));
        }
        let found = object
            .py()
            .import("clipn._arrays")?
            .call_method1("pixels_or_file", (object,))?;
        if let Ok(file) = found.cast::<PyBytes>() {
            return Ok(Self::Bytes(file.as_bytes().to_vec()));
        }
        let (pixels, orientation): (PyReadonlyArray3<'_, u8>, u64) = found.extract()?;
        let shape = pixels.as_array().shape().to_vec();
        let size = |value: usize| {
            u32::try_from(value).map_err(|_| invalid(format!("an image side of {value} pixels")))
        };
        let (height, width) = (size(shape[0])?, size(shape[1])?);
        let image = RgbImage::new(width, height, pixels.as_slice()?.to_vec()).or_raise()?;
        Ok(Self::Pixels { image, orientation })
    }

    /// Name for messages and tables; `None` for an image in memory.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Path(path) => Some(path.display().to_string()),
            _ => None,
        }
    }
}

impl ImageSource for InputImage {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        match self {
            Self::Path(path) => preprocessing.preprocess_file(path, out),
            Self::Bytes(bytes) => preprocessing.preprocess_bytes(bytes, out),
            Self::Pixels { image, orientation } => {
                let crop = if preprocessing.decode.apply_orientation && *orientation > 1 {
                    let upright = apply_exif_orientation(image.clone(), *orientation)?;
                    preprocessing.crop(&upright)?
                } else {
                    preprocessing.crop(image)?
                };
                preprocessing.normalize_into(&crop, out)
            }
        }
    }

    fn bytes_in_memory(&self) -> usize {
        match self {
            Self::Path(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Pixels { image, .. } => image.pixels().len(),
        }
    }
}

/// Converts a list of images.
pub(crate) fn extract_all(images: &Bound<'_, PyAny>) -> PyResult<Vec<InputImage>> {
    images
        .try_iter()?
        .map(|image| InputImage::extract(&image?))
        .collect()
}

/// Preprocesses images to `[N, 3, S, S]`.
pub(crate) fn tensors<'py>(
    py: Python<'py>,
    images: Vec<InputImage>,
    preprocessing: &Preprocessing,
) -> PyResult<Bound<'py, PyArray4<f32>>> {
    let (count, length, size) = (images.len(), preprocessing.tensor_len(), preprocessing.size);
    let reporter = Reporter::new(None);
    // No error stands for an interrupt, which is raised instead of the result.
    let tensors = || -> Result<Vec<f32>, Option<ImageError>> {
        let mut values = vec![0.0; count * length];
        values.par_chunks_mut(length).zip(images).try_for_each(
            |(out, mut image)| match reporter.is_cancelled() {
                true => Err(None),
                false => image.read_tensor(preprocessing, out).map_err(Some),
            },
        )?;
        Ok(values)
    };
    let tensors = run_in_any_process(py, &reporter, || process::install(tensors))??;
    let values = tensors.map_err(|error| match error {
        Some(error) => error.into_exception(),
        None => PyKeyboardInterrupt::new_err(()),
    })?;
    PyArray1::from_vec(py, values).reshape([count, 3, size, size])
}

/// Decoding of photos, or as the published evaluation decodes.
pub(crate) fn decode_options(faithful: bool) -> DecodeOptions {
    if faithful {
        DecodeOptions::faithful()
    } else {
        DecodeOptions::for_display()
    }
}

/// Preprocesses images as CLIP does, without a model.
#[pyfunction]
pub(crate) fn preprocess<'py>(
    py: Python<'py>,
    images: &Bound<'py, PyAny>,
    size: usize,
    faithful: bool,
    pillow: &str,
) -> PyResult<Bound<'py, PyArray4<f32>>> {
    let pillow: PillowVersion = pillow
        .parse()
        .map_err(|_| invalid(format!("expected pillow=\"12\" or \"13\", got {pillow:?}")))?;
    let preprocessing = Preprocessing::clip(size)
        .with_decode(decode_options(faithful))
        .with_pillow(pillow);
    preprocessing.validate().or_raise()?;
    tensors(py, extract_all(images)?, &preprocessing)
}
