use clipn_checkpoint::{Buffer, Element, Tensor};

/// Floating-point type of a tower's computation: `f32`, or `f64` for the reference implementation.
///
/// This trait is sealed: only `f32` and `f64` implement it.
pub trait Real:
    sealed::Sealed
    + num_traits::Float
    + Element
    + std::iter::Sum
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// Returns the tensor's values in this type, borrowed from the file if the type is the same.
    fn load(tensor: &Tensor) -> Buffer<Self>;
    /// Converts a constant to the nearest value.
    fn from_f64(value: f64) -> Self;
    /// Computes the error function.
    fn erf(self) -> Self;
    /// Returns the same values if this type is `f32`, so that generic code can use `f32` kernels.
    fn as_f32s(values: &[Self]) -> Option<&[f32]>;
    /// Same as [`as_f32s`](Self::as_f32s), for values to be written.
    fn as_f32s_mut(values: &mut [Self]) -> Option<&mut [f32]>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    fn load(tensor: &Tensor) -> Buffer<Self> {
        tensor.to_f32()
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn erf(self) -> Self {
        libm::erff(self)
    }
    fn as_f32s(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
    fn as_f32s_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Real for f64 {
    fn load(tensor: &Tensor) -> Buffer<Self> {
        tensor.to_f64()
    }
    fn from_f64(value: f64) -> Self {
        value
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
    fn as_f32s(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn as_f32s_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}
