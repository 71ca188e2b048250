//! Parameters of a tower on a device.

use clipn_model::{NamedTensor, Precision, Real};

use crate::device::{Allocate, Device, PlannedBuffer};
use crate::error::DeviceError;
use crate::op::{DeviceBuffer, ElementKind, square_sums};

/// Use of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Operand of matrix products.
    Matrix,
    /// Vector or embedding.
    Vector,
    /// Table whose rows are gathered; split into parts that fit a buffer.
    Table,
}

/// Gradient and moments of a part of a trained parameter, full.
#[derive(Debug, Clone)]
pub(crate) struct Trained<B> {
    pub(crate) gradient: B,
    pub(crate) first_moment: B,
    pub(crate) second_moment: B,
    /// Sums of the squared gradient.
    pub(crate) squares: B,
}

/// Part of a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Part<B> {
    /// First element.
    pub(crate) offset: usize,
    /// Number of elements.
    pub(crate) len: usize,
    /// Values that are trained: full, except for the matrices of a tower for inference.
    pub(crate) value: B,
    /// Copy for matrix products, if it has another format.
    pub(crate) multiplied: Option<B>,
    /// Gradient and moments, if it is trained.
    pub(crate) trained: Option<Trained<B>>,
}

/// A parameter, in one part unless it is a table.
#[derive(Debug, Clone)]
pub(crate) struct Parameter<B> {
    /// Name in open_clip.
    pub(crate) name: String,
    /// Dimensions.
    pub(crate) shape: Vec<usize>,
    pub(crate) parts: Vec<Part<B>>,
}

impl<B: Clone> Parameter<B> {
    /// Returns the values.
    pub(crate) fn value(&self) -> B {
        self.parts[0].value.clone()
    }

    /// Returns the operand of matrix products.
    pub(crate) fn multiplied(&self) -> B {
        let part = &self.parts[0];
        part.multiplied.as_ref().unwrap_or(&part.value).clone()
    }

    /// Returns the gradient of a parameter in one part.
    pub(crate) fn gradient(&self) -> Option<B> {
        self.parts[0].trained.as_ref().map(|t| t.gradient.clone())
    }
}

/// Purpose and limits of the parameters of a tower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParameterSettings {
    pub(crate) is_trained: bool,
    pub(crate) is_narrow: bool,
    pub(crate) max_table_bytes: u64,
}

/// Allocates parameters.
///
/// # Errors
/// [`DeviceError::OutOfMemory`] if the memory is not there.
pub(crate) fn allocate<T, B: Clone>(
    named: &[NamedTensor<&[T]>],
    role: impl Fn(usize) -> Role,
    settings: ParameterSettings,
    allocator: &mut impl Allocate<B>,
) -> Result<Vec<Parameter<B>>, DeviceError> {
    let parameter = |(index, tensor): (usize, &NamedTensor<&[T]>)| {
        let role = role(index);
        let len = tensor.values.len();
        let part_len = match (role, &tensor.shape[..]) {
            (Role::Table, [_, width, ..]) => {
                let rows = settings.max_table_bytes / (4 * *width as u64).max(1);
                (rows as usize).max(1) * width
            }
            _ => len,
        };
        let mut parts = Vec::new();
        let mut offset = 0;
        loop {
            let len = part_len.min(len - offset);
            parts.push(part(role, offset, len, settings, allocator)?);
            offset += len;
            if offset >= tensor.values.len() {
                break;
            }
        }
        Ok(Parameter {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            parts,
        })
    };
    named.iter().enumerate().map(parameter).collect()
}

fn part<B: Clone>(
    role: Role,
    offset: usize,
    len: usize,
    settings: ParameterSettings,
    allocator: &mut impl Allocate<B>,
) -> Result<Part<B>, DeviceError> {
    let is_compute = role == Role::Matrix && settings.is_narrow;
    let mut full = |len| allocator.allocate(ElementKind::Full, len);
    let trained = match settings.is_trained {
        true => Some(Trained {
            gradient: full(len)?,
            first_moment: full(len)?,
            second_moment: full(len)?,
            squares: full(square_sums(len))?,
        }),
        false => None,
    };
    let (value, multiplied) = match (is_compute, settings.is_trained) {
        (false, _) => (full(len)?, None),
        (true, false) => (allocator.allocate(ElementKind::Compute, len)?, None),
        (true, true) => (
            full(len)?,
            Some(allocator.allocate(ElementKind::Compute, len)?),
        ),
    };
    Ok(Part {
        offset,
        len,
        value,
        multiplied,
        trained,
    })
}

/// Writes the values of parameters.
///
/// # Errors
/// [`DeviceError::WeightRange`] for a value that the device's precision cannot represent.
pub(crate) fn write<D: Device>(
    device: &D,
    parameters: &[Parameter<D::Buffer>],
    named: &[NamedTensor<&[D::Value]>],
) -> Result<(), DeviceError> {
    for (parameter, tensor) in parameters.iter().zip(named) {
        check_range(device.precision(), &tensor.name, tensor.values)?;
        for part in &parameter.parts {
            let values = &tensor.values[part.offset..][..part.len];
            device.write(&part.value, values)?;
            if let Some(multiplied) = &part.multiplied {
                device.write(multiplied, values)?;
            }
        }
    }
    Ok(())
}

/// Largest finite value of f16.
const F16_MAX: f64 = 65_504.0;

/// Checks that a precision can represent the values of a parameter.
///
/// # Errors
/// [`DeviceError::WeightRange`] otherwise.
pub(crate) fn check_range<T: Real>(
    precision: Precision,
    name: &str,
    values: &[T],
) -> Result<(), DeviceError> {
    if precision != Precision::F16 {
        return Ok(());
    }
    let max = T::from_f64(F16_MAX);
    match values.iter().find(|value| value.abs() > max) {
        Some(value) => Err(DeviceError::WeightRange {
            name: name.to_owned(),
            value: value.to_f64().unwrap_or(f64::NAN),
            precision: precision.as_str(),
        }),
        None => Ok(()),
    }
}

/// Reads one buffer of every part of a parameter, joined.
///
/// # Errors
/// [`DeviceError`] if the device fails.
pub(crate) fn read<D: Device>(
    device: &D,
    parameter: &Parameter<D::Buffer>,
    buffer: impl Fn(&Part<D::Buffer>) -> Option<&D::Buffer>,
) -> Result<Vec<D::Value>, DeviceError> {
    let mut values = Vec::with_capacity(parameter.shape.iter().product());
    for part in &parameter.parts {
        if let Some(buffer) = buffer(part) {
            values.extend(device.read(buffer, part.len)?);
        }
    }
    Ok(values)
}

/// Returns the shapes of parameters without their memory, to plan a program.
pub(crate) fn planned<B: DeviceBuffer>(
    parameters: &[Parameter<B>],
) -> Vec<Parameter<PlannedBuffer>> {
    let plan = |buffer: &B| PlannedBuffer::like(buffer);
    let part = |part: &Part<B>| Part {
        offset: part.offset,
        len: part.len,
        value: plan(&part.value),
        multiplied: part.multiplied.as_ref().map(plan),
        trained: part.trained.as_ref().map(|trained| Trained {
            gradient: plan(&trained.gradient),
            first_moment: plan(&trained.first_moment),
            second_moment: plan(&trained.second_moment),
            squares: plan(&trained.squares),
        }),
    };
    let parameter = |parameter: &Parameter<B>| Parameter {
        name: parameter.name.clone(),
        shape: parameter.shape.clone(),
        parts: parameter.parts.iter().map(part).collect(),
    };
    parameters.iter().map(parameter).collect()
}
