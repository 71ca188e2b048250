use clipn_checkpoint::{Buffer, Tensor};

/// A floating-point type that a tower can compute in: `f32`, or `f64` for the plain form.
pub trait Real:
    num_traits::Float + bytemuck::Pod + std::iter::Sum + std::fmt::Debug + Send + Sync + 'static
{
    /// The tensor's values in this type, borrowed from the file where the type is the same.
    fn buffer(tensor: &Tensor) -> Buffer<Self>;
    /// The nearest value to a constant.
    fn of(value: f64) -> Self;
    /// The error function.
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
