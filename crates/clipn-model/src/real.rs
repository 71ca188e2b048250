use clipn_checkpoint::{Buffer, Element, Tensor};

/// Floating-point type of a tower's computation: `f32`, or `f64` for the reference implementation.
pub trait Real:
    num_traits::Float + Element + std::iter::Sum + std::fmt::Debug + Send + Sync + 'static
{
    /// Returns the tensor's values in this type, borrowed from the file if the type is the same.
    fn buffer(tensor: &Tensor) -> Buffer<Self>;
    /// Converts a constant to the nearest value.
    fn of(value: f64) -> Self;
    /// Computes the error function.
    fn erf(self) -> Self;
}

impl Real for f32 {
    fn buffer(tensor: &Tensor) -> Buffer<Self> {
        tensor.to_f32()
    }
    fn of(value: f64) -> Self {
        value as f32
    }
    fn erf(self) -> Self {
        libm::erff(self)
    }
}

impl Real for f64 {
    fn buffer(tensor: &Tensor) -> Buffer<Self> {
        tensor.to_f64()
    }
    fn of(value: f64) -> Self {
        value
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
}
