//! Operations of a tower as data: a device turns a list of them into a program.

use clipn_model::Activation;

use crate::error::DeviceError;

/// Number format of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementKind {
    /// The device's precision: matrices and the activations that are multiplied with them.
    Compute,
    /// f32, or the type of a host device: the residual stream, vectors, features, gradients, moments.
    Full,
    /// u32.
    Index,
}

/// Buffer of a device. Clones refer to the same memory, which is freed with the last of them.
pub trait DeviceBuffer: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Returns the number format.
    fn kind(&self) -> ElementKind;

    /// Returns the number of elements.
    fn len(&self) -> usize;

    /// Returns whether there is no element.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Matrix operand of a product: rows of `stride` elements in a buffer, or the columns of such a matrix.
#[derive(Debug, Clone)]
pub struct Operand<B> {
    /// Memory of the matrix.
    pub buffer: B,
    /// Elements from one stored row to the next.
    pub stride: usize,
    /// Whether the operand is the transpose of the stored matrix.
    pub transposed: bool,
}

/// `out = activation(a · b + bias)`, or `out = a · b + bias + addend`, with sums in f32. A result that something is
/// added to has no activation, and is full.
#[derive(Debug, Clone)]
pub struct Gemm<B> {
    /// `[m, k]`.
    pub a: Operand<B>,
    /// `[k, n]`.
    pub b: Operand<B>,
    /// `[n]`, full.
    pub bias: Option<B>,
    /// Activation.
    pub activation: Option<Activation>,
    /// `[m, n]`, full, and another buffer than `out`.
    pub addend: Option<B>,
    /// `[m, n]`, compute or full.
    pub out: B,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Whether the result is added to `out`, in place of an `addend`.
    pub accumulate: bool,
}

/// Rows of a layer norm.
#[derive(Debug, Clone)]
pub struct NormRows<B> {
    /// Input, `[rows, width]`, full.
    pub x: B,
    /// Rows of the input to normalize, `[count]`, index; all rows in order if absent.
    pub rows: Option<B>,
    /// Number of normalized rows.
    pub count: usize,
    /// Width.
    pub width: usize,
}

/// Shape of an attention over sequences of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of sequences.
    pub sequences: usize,
    /// Positions per sequence.
    pub length: usize,
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Whether a position sees only itself and earlier ones.
    pub causal: bool,
}

impl AttentionShape {
    /// Returns the number of positions of all sequences.
    pub fn rows(self) -> usize {
        self.sequences * self.length
    }

    /// Returns the width of all heads.
    pub fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// Returns the number of queries of all heads.
    pub fn queries(self) -> usize {
        self.rows() * self.heads
    }
}

/// Images and their patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchShape {
    /// Number of images.
    pub images: usize,
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
}

impl PatchShape {
    /// Returns the number of patches of an image.
    pub fn patches(self) -> usize {
        (self.height / self.patch) * (self.width / self.patch)
    }
}

/// An operation on buffers. Shapes are row-major; "accumulates" means that results are added to `out`.
#[derive(Debug, Clone)]
pub enum Op<B> {
    /// Matrix product.
    Gemm(Gemm<B>),
    /// Layer norm with gain and bias, `[width]` full, to `out`, `[count, width]`, compute or full.
    LayerNorm {
        /// Input.
        input: NormRows<B>,
        /// Gain.
        gain: B,
        /// Bias.
        bias: B,
        /// Output.
        out: B,
    },
    /// Mean and inverse standard deviation of each row of a layer norm, `[count, 2]`, full.
    LayerNormStatistics {
        /// Input.
        input: NormRows<B>,
        /// Output.
        out: B,
    },
    /// Gradient of a layer norm's input. With `rows`, writes only those rows.
    LayerNormBackward {
        /// Input of the forward pass.
        input: NormRows<B>,
        /// Output of [`Op::LayerNormStatistics`].
        statistics: B,
        /// Gain, `[width]`, full.
        gain: B,
        /// Gradient of the output, `[count, width]`, full.
        d_out: B,
        /// Gradient of the input, `[rows, width]`, full; accumulates.
        d_x: B,
    },
    /// Gradient of a layer norm's gain, `[width]`; accumulates.
    LayerNormGainGradient {
        /// Input of the forward pass.
        input: NormRows<B>,
        /// Output of [`Op::LayerNormStatistics`].
        statistics: B,
        /// Gradient of the output, `[count, width]`, full.
        d_out: B,
        /// Room for [`partial_sums`] rows of `width` values, full.
        partial: B,
        /// Gradient of the gain, full.
        out: B,
    },
    /// `scale` times the sum of rows, `[count, width]` at `offset` and `stride` in `x`; accumulates or
    /// overwrites.
    ColumnSums {
        /// Rows, compute or full.
        x: B,
        /// Elements before the first row.
        offset: usize,
        /// Elements from one row to the next.
        stride: usize,
        /// Number of rows.
        count: usize,
        /// Width of a row.
        width: usize,
        /// Factor.
        scale: f64,
        /// Whether the sum is added to `out`.
        accumulate: bool,
        /// Room for [`partial_sums`] rows of `width` values, full.
        partial: B,
        /// Sums in the first `width` elements, full.
        out: B,
    },
    /// Activation of every element, compute to compute.
    Activate {
        /// Input.
        x: B,
        /// Output.
        out: B,
        /// Number of elements.
        len: usize,
        /// Function.
        activation: Activation,
    },
    /// Multiplies `d`, compute, by the derivative of the activation at `x`, compute.
    ActivateBackward {
        /// Input of the forward pass.
        x: B,
        /// Gradient of the output, then of the input.
        d: B,
        /// Number of elements.
        len: usize,
        /// Function.
        activation: Activation,
    },
    /// Multi-head attention of queries, keys and values, `[rows, 3·width]`, to `[rows, width]`, both
    /// compute.
    Attention {
        /// Queries, keys and values.
        qkv: B,
        /// Output.
        out: B,
        /// Shape.
        shape: AttentionShape,
    },
    /// For each query, the logarithm of the sum of its exponentials, and the product of its output and
    /// the gradient of that: `[sequences, heads, length, 2]`, full.
    AttentionStatistics {
        /// Queries, keys and values, compute.
        qkv: B,
        /// Output of the forward pass, compute.
        attended: B,
        /// Gradient of the output, compute.
        d_out: B,
        /// Statistics.
        out: B,
        /// Shape.
        shape: AttentionShape,
    },
    /// Gradient of queries, keys and values, compute.
    AttentionBackward {
        /// Queries, keys and values, compute.
        qkv: B,
        /// Gradient of the output, compute.
        d_out: B,
        /// Output of [`Op::AttentionStatistics`].
        statistics: B,
        /// Gradient, `[rows, 3·width]`.
        d_qkv: B,
        /// Shape.
        shape: AttentionShape,
    },
    /// Patches of images `[N, 3, H, W]`, full, as rows `[N·patches, 3·patch²]`, compute.
    Patchify {
        /// Pixels.
        pixels: B,
        /// Patches.
        out: B,
        /// Shape.
        shape: PatchShape,
    },
    /// Embedded patches, `[N·P, width]` full, with the class token before those of each image, plus
    /// positions, `[1 + P, width]`.
    AddClassToken {
        /// Embedded patches, full.
        patches: B,
        /// Class token, `[width]`, full.
        class: B,
        /// Positional embeddings, full.
        positions: B,
        /// Output, `[N·(1 + P), width]`, full.
        out: B,
        /// Number of images.
        images: usize,
        /// Patches of an image, P.
        length: usize,
        /// Width.
        width: usize,
    },
    /// Rows of patches without those of class tokens: `[N·(1 + P), width]`, full, to `[N·P, width]`,
    /// compute.
    DropClassToken {
        /// Input.
        x: B,
        /// Output.
        out: B,
        /// Number of images.
        images: usize,
        /// Patches of an image, P.
        length: usize,
        /// Width.
        width: usize,
    },
    /// Token embeddings plus positions plus the selected prompt of each text. A table that is split is
    /// read by one operation for each part, which writes the rows of its ids.
    EmbedTokens {
        /// Rows `first..first + rows` of the table, `[rows, width]`, full.
        table: B,
        /// First row of the part.
        first: usize,
        /// Number of rows of the part.
        rows: usize,
        /// Token ids `[N, length]`, then the selected prompts `[N]`: an index, or [`NO_PROMPT`]. Index.
        ids: B,
        /// Positional embeddings, `[context, width]`, full.
        positions: B,
        /// Prompts, `[prompts, context, width]`, full.
        prompts: Option<B>,
        /// Mean of the prompts, selected by [`MEAN_PROMPT`], full.
        mean: Option<B>,
        /// Output, `[N·length, width]`, full.
        out: B,
        /// Number of texts, N.
        texts: usize,
        /// Positions of a text.
        length: usize,
        /// Context length of the model.
        context: usize,
        /// Width.
        width: usize,
    },
    /// Adds rows to rows: `lists` has the number of targets T, the starts of their lists `[T + 1]`, the
    /// targets `[T]`, and the rows of all lists, whose highest bit ([`SCALED_ROW`]) selects the factor
    /// `scale`. Targets outside `first..first + rows` are skipped. Accumulates.
    ScatterRows {
        /// Rows, `[count, width]`, full.
        x: B,
        /// Number of rows of `x`.
        count: usize,
        /// Lists, index.
        lists: B,
        /// Maximum number of targets.
        targets: usize,
        /// Target rows of `stride` elements, full.
        out: B,
        /// First target row in `out`.
        first: usize,
        /// Number of target rows in `out`.
        rows: usize,
        /// Width of a row of `x`.
        width: usize,
        /// Elements from one target row to the next, at least `width`.
        stride: usize,
        /// Factor of marked rows.
        scale: f64,
    },
    /// AdamW step of one parameter.
    AdamW {
        /// Parameter, full.
        parameter: B,
        /// Running average of the gradient, full.
        first_moment: B,
        /// Running average of the squared gradient, full.
        second_moment: B,
        /// Gradient, full.
        gradient: B,
        /// Values of [`AdamWConstants`], full.
        constants: B,
        /// Whether the parameter decays.
        decays: bool,
        /// Number of elements.
        len: usize,
    },
    /// Zeros.
    Clear {
        /// Buffer, full.
        out: B,
        /// Number of elements.
        len: usize,
    },
    /// Full to compute.
    Convert {
        /// Input, full.
        x: B,
        /// Output, compute.
        out: B,
        /// Number of elements.
        len: usize,
    },
    /// Sum of squares of each [`SQUARES_PER_SUM`] elements, full.
    SumsOfSquares {
        /// Elements, full.
        x: B,
        /// Sums.
        out: B,
        /// Number of elements.
        len: usize,
    },
}

/// Selects the mean of the prompts.
pub const MEAN_PROMPT: u32 = u32::MAX;
/// Selects no prompt.
pub const NO_PROMPT: u32 = u32::MAX - 1;
/// Marks a row of a list of [`Op::ScatterRows`] that is scaled.
pub const SCALED_ROW: u32 = 1 << 31;
/// Elements that one sum of [`Op::SumsOfSquares`] has.
pub const SQUARES_PER_SUM: usize = 4096;
/// Rows that one partial sum over rows has.
pub const ROWS_PER_SUM: usize = 128;
/// Added to the variance in every layer norm.
pub const LAYER_NORM_EPS: f64 = 1e-5;

/// Returns the number of partial sums over `count` rows.
pub fn partial_sums(count: usize) -> usize {
    count.div_ceil(ROWS_PER_SUM)
}

/// Returns the number of sums of [`Op::SumsOfSquares`].
pub fn square_sums(len: usize) -> usize {
    len.div_ceil(SQUARES_PER_SUM)
}

/// Constants of an AdamW step, in the order in which a device reads them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConstants {
    /// 1 − lr·weight decay.
    pub decay_factor: f64,
    /// 1 − beta1.
    pub one_minus_beta1: f64,
    /// beta2.
    pub beta2: f64,
    /// 1 − beta2.
    pub one_minus_beta2: f64,
    /// Square root of 1 − beta2^t.
    pub root_correction: f64,
    /// Term added to the root.
    pub eps: f64,
    /// −lr/(1 − beta1^t).
    pub minus_step_size: f64,
    /// Factor of the gradients.
    pub clip: f64,
}

impl AdamWConstants {
    /// Number of constants.
    pub const LEN: usize = 8;

    /// Returns the constants in order.
    pub fn to_array(self) -> [f64; Self::LEN] {
        [
            self.decay_factor,
            self.one_minus_beta1,
            self.beta2,
            self.one_minus_beta2,
            self.root_correction,
            self.eps,
            self.minus_step_size,
            self.clip,
        ]
    }
}

/// Checks the operands of one operation.
struct Check {
    operation: &'static str,
    /// Whether compute buffers have another format than full ones.
    is_narrow: bool,
}

impl Check {
    fn buffer<B: DeviceBuffer>(
        &self,
        name: &str,
        buffer: &B,
        kinds: &[ElementKind],
        len: usize,
    ) -> Result<(), DeviceError> {
        let has_same_format = !self.is_narrow
            && buffer.kind() != ElementKind::Index
            && !kinds.contains(&ElementKind::Index);
        if !has_same_format && !kinds.contains(&buffer.kind()) {
            return Err(DeviceError::invalid(
                self.operation,
                format!("{name}: expected one of {kinds:?}, got {:?}", buffer.kind()),
            ));
        }
        if buffer.len() < len {
            return Err(DeviceError::invalid(
                self.operation,
                format!("{name}: expected {len} elements, got {}", buffer.len()),
            ));
        }
        Ok(())
    }

    fn full<B: DeviceBuffer>(&self, name: &str, buffer: &B, len: usize) -> Result<(), DeviceError> {
        self.buffer(name, buffer, &[ElementKind::Full], len)
    }

    fn compute<B: DeviceBuffer>(
        &self,
        name: &str,
        buffer: &B,
        len: usize,
    ) -> Result<(), DeviceError> {
        self.buffer(name, buffer, &[ElementKind::Compute], len)
    }

    fn either<B: DeviceBuffer>(
        &self,
        name: &str,
        buffer: &B,
        len: usize,
    ) -> Result<(), DeviceError> {
        self.buffer(
            name,
            buffer,
            &[ElementKind::Compute, ElementKind::Full],
            len,
        )
    }

    fn index<B: DeviceBuffer>(
        &self,
        name: &str,
        buffer: &B,
        len: usize,
    ) -> Result<(), DeviceError> {
        self.buffer(name, buffer, &[ElementKind::Index], len)
    }

    /// Checks the rows of a layer norm; without `rows`, there are exactly `count`.
    fn rows<B: DeviceBuffer>(&self, input: &NormRows<B>) -> Result<(), DeviceError> {
        let stored = if input.rows.is_some() { 1 } else { input.count };
        self.full("x", &input.x, stored * input.width)?;
        match &input.rows {
            Some(rows) => self.index("rows", rows, input.count),
            None => Ok(()),
        }
    }

    fn operand<B: DeviceBuffer>(
        &self,
        name: &str,
        operand: &Operand<B>,
        (rows, columns): (usize, usize),
    ) -> Result<(), DeviceError> {
        let (rows, columns) = if operand.transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        if operand.stride < columns {
            return Err(DeviceError::invalid(
                self.operation,
                format!("{name}: stride {} below {columns} columns", operand.stride),
            ));
        }
        self.compute(
            name,
            &operand.buffer,
            rows.saturating_sub(1) * operand.stride + columns,
        )
    }
}

impl<B: DeviceBuffer> Op<B> {
    /// Returns the name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gemm(_) => "a matrix product",
            Self::LayerNorm { .. } => "a layer norm",
            Self::LayerNormStatistics { .. } => "the statistics of a layer norm",
            Self::LayerNormBackward { .. } => "the gradient of a layer norm",
            Self::LayerNormGainGradient { .. } => "the gradient of a gain",
            Self::ColumnSums { .. } => "column sums",
            Self::Activate { .. } => "an activation",
            Self::ActivateBackward { .. } => "the gradient of an activation",
            Self::Attention { .. } => "attention",
            Self::AttentionStatistics { .. } => "the statistics of attention",
            Self::AttentionBackward { .. } => "the gradient of attention",
            Self::Patchify { .. } => "patches",
            Self::AddClassToken { .. } => "class tokens",
            Self::DropClassToken { .. } => "the rows of patches",
            Self::EmbedTokens { .. } => "token embeddings",
            Self::ScatterRows { .. } => "sums of rows",
            Self::AdamW { .. } => "AdamW",
            Self::Clear { .. } => "zeros",
            Self::Convert { .. } => "a conversion",
            Self::SumsOfSquares { .. } => "sums of squares",
        }
    }

    /// Checks kinds and lengths of the operands, since a kernel reads or writes a wrong element without
    /// an error. `is_narrow` is whether compute buffers have another format than full ones.
    ///
    /// # Errors
    /// [`DeviceError::InvalidOperation`] for the first operand that does not fit.
    pub fn check(&self, is_narrow: bool) -> Result<(), DeviceError> {
        let check = Check {
            operation: self.name(),
            is_narrow,
        };
        match self {
            Self::Gemm(gemm) => Self::check_gemm(&check, gemm),
            Self::LayerNorm { .. }
            | Self::LayerNormStatistics { .. }
            | Self::LayerNormBackward { .. }
            | Self::LayerNormGainGradient { .. } => self.check_norm(&check),
            Self::Attention { .. }
            | Self::AttentionStatistics { .. }
            | Self::AttentionBackward { .. } => self.check_attention(&check),
            Self::Patchify { .. }
            | Self::AddClassToken { .. }
            | Self::DropClassToken { .. }
            | Self::EmbedTokens { .. } => self.check_embedding(&check),
            _ => self.check_elements(&check),
        }
    }

    fn check_gemm(check: &Check, gemm: &Gemm<B>) -> Result<(), DeviceError> {
        check.operand("a", &gemm.a, (gemm.m, gemm.k))?;
        check.operand("b", &gemm.b, (gemm.k, gemm.n))?;
        if let Some(bias) = &gemm.bias {
            check.full("bias", bias, gemm.n)?;
        }
        if let Some(addend) = &gemm.addend {
            check.full("addend", addend, gemm.m * gemm.n)?;
            if gemm.accumulate {
                let problem = "an addend of a result that is added to `out`";
                return Err(DeviceError::invalid(check.operation, problem));
            }
        }
        if gemm.accumulate || gemm.addend.is_some() {
            if gemm.activation.is_some() {
                let problem = "an activation of a sum";
                return Err(DeviceError::invalid(check.operation, problem));
            }
            check.full("out", &gemm.out, gemm.m * gemm.n)
        } else {
            check.either("out", &gemm.out, gemm.m * gemm.n)
        }
    }

    fn check_norm(&self, check: &Check) -> Result<(), DeviceError> {
        match self {
            Self::LayerNorm {
                input,
                gain,
                bias,
                out,
            } => {
                check.rows(input)?;
                check.full("gain", gain, input.width)?;
                check.full("bias", bias, input.width)?;
                check.either("out", out, input.count * input.width)
            }
            Self::LayerNormStatistics { input, out } => {
                check.rows(input)?;
                check.full("out", out, 2 * input.count)
            }
            Self::LayerNormBackward {
                input,
                statistics,
                gain,
                d_out,
                d_x,
            } => {
                check.rows(input)?;
                check.full("statistics", statistics, 2 * input.count)?;
                check.full("gain", gain, input.width)?;
                check.full("d_out", d_out, input.count * input.width)?;
                check.full("d_x", d_x, input.x.len())
            }
            Self::LayerNormGainGradient {
                input,
                statistics,
                d_out,
                partial,
                out,
            } => {
                check.rows(input)?;
                check.full("statistics", statistics, 2 * input.count)?;
                check.full("d_out", d_out, input.count * input.width)?;
                check.full("partial", partial, partial_sums(input.count) * input.width)?;
                check.full("out", out, input.width)
            }
            _ => Ok(()),
        }
    }

    fn check_attention(&self, check: &Check) -> Result<(), DeviceError> {
        match self {
            Self::Attention { qkv, out, shape } => {
                check.compute("qkv", qkv, 3 * shape.rows() * shape.width())?;
                check.compute("out", out, shape.rows() * shape.width())
            }
            Self::AttentionStatistics {
                qkv,
                attended,
                d_out,
                out,
                shape,
            } => {
                let len = shape.rows() * shape.width();
                check.compute("qkv", qkv, 3 * len)?;
                check.compute("attended", attended, len)?;
                check.compute("d_out", d_out, len)?;
                check.full("out", out, 2 * shape.queries())
            }
            Self::AttentionBackward {
                qkv,
                d_out,
                statistics,
                d_qkv,
                shape,
            } => {
                let len = shape.rows() * shape.width();
                check.compute("qkv", qkv, 3 * len)?;
                check.compute("d_out", d_out, len)?;
                check.full("statistics", statistics, 2 * shape.queries())?;
                check.compute("d_qkv", d_qkv, 3 * len)
            }
            _ => Ok(()),
        }
    }

    fn check_embedding(&self, check: &Check) -> Result<(), DeviceError> {
        match self {
            Self::Patchify { pixels, out, shape } => {
                let rows = shape.images * shape.patches();
                check.full(
                    "pixels",
                    pixels,
                    3 * shape.images * shape.height * shape.width,
                )?;
                check.compute("out", out, rows * 3 * shape.patch * shape.patch)
            }
            Self::AddClassToken {
                patches,
                class,
                positions,
                out,
                images,
                length,
                width,
            } => {
                check.full("patches", patches, images * length * width)?;
                check.full("class", class, *width)?;
                check.full("positions", positions, (1 + length) * width)?;
                check.full("out", out, images * (1 + length) * width)
            }
            Self::DropClassToken {
                x,
                out,
                images,
                length,
                width,
            } => {
                check.full("x", x, images * (1 + length) * width)?;
                check.compute("out", out, images * length * width)
            }
            Self::EmbedTokens {
                table,
                rows,
                ids,
                positions,
                prompts,
                mean,
                out,
                texts,
                length,
                context,
                width,
                ..
            } => {
                check.full("table", table, rows * width)?;
                check.index("ids", ids, texts * (length + 1))?;
                check.full("positions", positions, context * width)?;
                for (name, prompts) in [("prompts", prompts), ("mean", mean)] {
                    if let Some(prompts) = prompts {
                        check.full(name, prompts, context * width)?;
                    }
                }
                check.full("out", out, texts * length * width)
            }
            _ => Ok(()),
        }
    }

    fn check_elements(&self, check: &Check) -> Result<(), DeviceError> {
        match self {
            Self::ColumnSums {
                x,
                offset,
                stride,
                count,
                width,
                partial,
                out,
                ..
            } => {
                let last = count.saturating_sub(1) * stride;
                check.either("x", x, offset + last + width)?;
                check.full("partial", partial, partial_sums(*count) * width)?;
                check.full("out", out, *width)
            }
            Self::Activate { x, out, len, .. } => {
                check.compute("x", x, *len)?;
                check.compute("out", out, *len)
            }
            Self::ActivateBackward { x, d, len, .. } => {
                check.compute("x", x, *len)?;
                check.compute("d", d, *len)
            }
            Self::ScatterRows {
                x,
                count,
                lists,
                targets,
                out,
                rows,
                width,
                stride,
                ..
            } => {
                check.full("x", x, count * width)?;
                check.index("lists", lists, 2 + 2 * targets)?;
                check.full("out", out, rows.saturating_sub(1) * stride + width)
            }
            Self::AdamW {
                parameter,
                first_moment,
                second_moment,
                gradient,
                constants,
                len,
                ..
            } => {
                check.full("parameter", parameter, *len)?;
                check.full("first_moment", first_moment, *len)?;
                check.full("second_moment", second_moment, *len)?;
                check.full("gradient", gradient, *len)?;
                check.full("constants", constants, AdamWConstants::LEN)
            }
            Self::Clear { out, len } => check.full("out", out, *len),
            Self::Convert { x, out, len } => {
                check.full("x", x, *len)?;
                check.compute("out", out, *len)
            }
            Self::SumsOfSquares { x, out, len } => {
                check.full("x", x, *len)?;
                check.full("out", out, square_sums(*len))
            }
            _ => Ok(()),
        }
    }
}
