//! Operations as launches of kernels and products.

use std::ffi::{CString, c_void};
use std::fmt;
use std::ptr;
use std::sync::Arc;

use clipn_model::Activation;

use crate::cuda::api::Handle;
use crate::cuda::gemm::{Plan, has_fused_activation};
use crate::cuda::{CudaBuffer, CudaDevice};
use crate::device::Device;
use crate::error::DeviceError;
use crate::op::{AttentionShape, ElementKind, Gemm, NormRows, Op, SQUARES_PER_SUM, partial_sums};

/// Maximum number of blocks in the second and third dimension of a grid.
const MAX_BLOCKS: u32 = 65_535;

/// Argument of a kernel.
#[derive(Debug, Clone)]
enum Argument {
    Buffer(CudaBuffer),
    /// No buffer.
    Null,
    U32(u32),
    U64(u64),
    F32(f32),
}

fn buffer(buffer: &CudaBuffer) -> Argument {
    Argument::Buffer(buffer.clone())
}

fn optional(optional: Option<&CudaBuffer>) -> Argument {
    optional.map_or(Argument::Null, buffer)
}

fn size(value: usize) -> Argument {
    Argument::U32(value as u32)
}

fn long(value: usize) -> Argument {
    Argument::U64(value as u64)
}

/// A kernel with its arguments and grid.
struct Launch {
    function: Handle,
    /// The module of the function.
    _module: Arc<Module>,
    /// Values of the arguments, in eight bytes each; a kernel reads as many as its type has.
    values: Vec<u64>,
    grid: [u32; 3],
    threads: u32,
    /// Buffers that the values point to.
    _buffers: Vec<CudaBuffer>,
}

enum Step {
    Launch(Launch),
    Product(Box<Plan>),
    Clear(CudaBuffer, usize),
}

/// Prepared operations of a [`CudaDevice`].
pub struct CudaProgram(Vec<Step>);

// SAFETY: functions of a loaded module may be launched from any thread.
unsafe impl Send for CudaProgram {}
// SAFETY: as above.
unsafe impl Sync for CudaProgram {}

impl fmt::Debug for CudaProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaProgram")
            .field("steps", &self.0.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn prepare(
    device: &CudaDevice,
    ops: &[Op<CudaBuffer>],
) -> Result<CudaProgram, DeviceError> {
    let mut builder = Builder {
        device,
        steps: Vec::new(),
    };
    for op in ops {
        op.check(device.is_narrow())?;
        builder.add(op)?;
    }
    Ok(CudaProgram(builder.steps))
}

pub(super) fn run(device: &CudaDevice, program: &CudaProgram) -> Result<(), DeviceError> {
    let context = &device.context;
    let driver = context.current()?;
    for step in &program.0 {
        match step {
            Step::Product(plan) => plan.run()?,
            Step::Clear(buffer, bytes) => buffer.memory.clear(*bytes)?,
            Step::Launch(launch) => {
                let mut pointers: Vec<*mut c_void> = launch
                    .values
                    .iter()
                    .map(|value| ptr::from_ref(value).cast_mut().cast())
                    .collect();
                let [x, y, z] = launch.grid;
                // SAFETY: the arguments are those of the kernel, in order; the operands were checked.
                let status = unsafe {
                    (driver.launch)(
                        launch.function,
                        x,
                        y,
                        z,
                        launch.threads,
                        1,
                        1,
                        0,
                        context.stream,
                        pointers.as_mut_ptr(),
                        ptr::null_mut(),
                    )
                };
                context.check("starting a kernel", status)?;
            }
        }
    }
    Ok(())
}

struct Builder<'a> {
    device: &'a CudaDevice,
    steps: Vec<Step>,
}

/// Grid of columns, for each of some rows, which are spread over two dimensions.
fn columns(width: usize, rows: usize) -> [u32; 3] {
    let rows = rows.max(1) as u32;
    let z = rows.div_ceil(MAX_BLOCKS);
    [(width as u32).div_ceil(64), rows.div_ceil(z), z]
}

fn blocks(count: usize) -> [u32; 3] {
    [count as u32, 1, 1]
}

fn is_full(buffer: &CudaBuffer) -> bool {
    buffer.kind == ElementKind::Full
}

fn activation(activation: Activation) -> Argument {
    Argument::U32(match activation {
        Activation::Gelu => 1,
        Activation::QuickGelu => 2,
    })
}

impl Builder<'_> {
    fn launch(
        &mut self,
        name: &str,
        (grid, threads): ([u32; 3], u32),
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        self.launch_for_head(0, name, (grid, threads), arguments)
    }

    fn launch_for_head(
        &mut self,
        head_width: usize,
        name: &str,
        (grid, threads): ([u32; 3], u32),
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        // Nothing is done without elements.
        if grid.contains(&0) {
            return Ok(());
        }
        let name = CString::new(name).unwrap_or_default();
        let (function, module) = self.device.function(head_width, &name)?;
        let value = |argument: &Argument| match argument {
            Argument::Buffer(buffer) => buffer.pointer(),
            Argument::Null => 0,
            Argument::U32(value) => u64::from(*value),
            Argument::U64(value) => *value,
            Argument::F32(value) => u64::from(value.to_bits()),
        };
        let buffers = arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer(buffer) => Some(buffer.clone()),
            _ => None,
        });
        self.steps.push(Step::Launch(Launch {
            function,
            _module: module,
            values: arguments.iter().map(value).collect(),
            grid,
            threads,
            _buffers: buffers.collect(),
        }));
        Ok(())
    }

    fn elements(
        &mut self,
        name: &str,
        len: usize,
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        self.launch(name, (blocks(len.div_ceil(256)), 256), arguments)
    }

    fn add(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        match op {
            Op::Gemm(gemm) => self.gemm(gemm),
            Op::LayerNorm { .. }
            | Op::LayerNormStatistics { .. }
            | Op::LayerNormBackward { .. }
            | Op::LayerNormGainGradient { .. } => self.norm(op),
            Op::ColumnSums { .. } => self.column_sums(op),
            Op::Attention { .. }
            | Op::AttentionStatistics { .. }
            | Op::AttentionBackward { .. } => self.attention(op),
            Op::Patchify { .. }
            | Op::AddClassToken { .. }
            | Op::DropClassToken { .. }
            | Op::EmbedTokens { .. }
            | Op::ScatterRows { .. } => self.rows(op),
            _ => self.each_element(op),
        }
    }

    /// Adds a product. A bias has the format of the result: that of a narrow result is converted first.
    fn gemm(&mut self, gemm: &Gemm<CudaBuffer>) -> Result<(), DeviceError> {
        if gemm.m == 0 || gemm.n == 0 {
            return Ok(());
        }
        let mut own = gemm.clone();
        if let (Some(bias), false) = (&gemm.bias, is_full(&gemm.out) || !self.device.is_narrow()) {
            let narrow = self.device.allocate(ElementKind::Compute, gemm.n)?;
            self.elements(
                "convert",
                gemm.n,
                &[buffer(bias), buffer(&narrow), long(gemm.n)],
            )?;
            own.bias = Some(narrow);
        }
        let precision = self.device.precision();
        let products = &self.device.products;
        self.steps.push(Step::Product(Box::new(Plan::new(
            products, &own, precision,
        )?)));
        match gemm.activation {
            Some(function) if !has_fused_activation(gemm, precision) => {
                if self.device.is_narrow() && is_full(&gemm.out) {
                    let problem = "an activation of a full result";
                    return Err(DeviceError::invalid("a matrix product", problem));
                }
                let len = gemm.m * gemm.n;
                let arguments = [
                    buffer(&gemm.out),
                    buffer(&gemm.out),
                    long(len),
                    activation(function),
                ];
                self.elements("activate_elements", len, &arguments)
            }
            _ => Ok(()),
        }
    }

    fn norm(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        let source =
            |input: &NormRows<CudaBuffer>| [buffer(&input.x), optional(input.rows.as_ref())];
        match op {
            Op::LayerNorm {
                input,
                gain,
                bias,
                out,
            } => {
                let name = match is_full(out) {
                    true => "layer_norm_full",
                    false => "layer_norm_compute",
                };
                let [x, rows] = source(input);
                let arguments = [
                    x,
                    rows,
                    buffer(gain),
                    buffer(bias),
                    buffer(out),
                    size(input.width),
                ];
                self.launch(name, (blocks(input.count), 128), &arguments)
            }
            Op::LayerNormStatistics { input, out } => {
                let [x, rows] = source(input);
                let arguments = [x, rows, buffer(out), size(input.width)];
                let grid = (blocks(input.count), 128);
                self.launch("layer_norm_statistics", grid, &arguments)
            }
            Op::LayerNormBackward {
                input,
                statistics,
                gain,
                d_out,
                d_x,
            } => {
                let [x, rows] = source(input);
                let others = [statistics, gain, d_out, d_x].map(buffer);
                let [statistics, gain, d_out, d_x] = others;
                let width = size(input.width);
                let arguments = [x, rows, statistics, gain, d_out, d_x, width];
                let grid = (blocks(input.count), 128);
                self.launch("layer_norm_backward", grid, &arguments)
            }
            Op::LayerNormGainGradient {
                input,
                statistics,
                d_out,
                partial,
                out,
            } => {
                let [x, rows] = source(input);
                let [statistics, d_out, partials] = [statistics, d_out, partial].map(buffer);
                let (count, width) = (size(input.count), size(input.width));
                let arguments = [x, rows, statistics, d_out, partials, count, width];
                let grid = partial_grid(input.width, input.count);
                self.launch("gain_gradient", (grid, 64), &arguments)?;
                self.finish(partial, out, (input.count, input.width), 1.0, true)
            }
            _ => Ok(()),
        }
    }

    /// Sums the partial sums over `count` rows.
    fn finish(
        &mut self,
        partial: &CudaBuffer,
        out: &CudaBuffer,
        (count, width): (usize, usize),
        scale: f64,
        accumulate: bool,
    ) -> Result<(), DeviceError> {
        let arguments = [
            buffer(partial),
            buffer(out),
            size(partial_sums(count)),
            size(width),
            Argument::F32(scale as f32),
            Argument::U32(u32::from(accumulate)),
        ];
        let grid = blocks(width.div_ceil(64));
        self.launch("finish_sums", (grid, 64), &arguments)
    }

    fn column_sums(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        let Op::ColumnSums {
            x,
            offset,
            stride,
            count,
            width,
            scale,
            accumulate,
            partial,
            out,
        } = op
        else {
            return Ok(());
        };
        let name = match is_full(x) {
            true => "column_sums_full",
            false => "column_sums_compute",
        };
        let arguments = [
            buffer(x),
            buffer(partial),
            size(*count),
            size(*width),
            long(*stride),
            long(*offset),
        ];
        self.launch(name, (partial_grid(*width, *count), 64), &arguments)?;
        self.finish(partial, out, (*count, *width), *scale, *accumulate)
    }

    fn attention(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        let mut launch = |name: &str, buffers: &[&CudaBuffer], shape: &AttentionShape| {
            let mut arguments: Vec<Argument> = buffers.iter().copied().map(buffer).collect();
            arguments.extend([
                size(shape.sequences),
                size(shape.length),
                size(shape.heads),
                Argument::U32(u32::from(shape.causal)),
                Argument::F32((shape.head_width as f32).sqrt().recip()),
            ]);
            let grid = columns(shape.length, shape.sequences * shape.heads);
            self.launch_for_head(shape.head_width, name, (grid, 64), &arguments)
        };
        match op {
            Op::Attention { qkv, out, shape } => launch("attention", &[qkv, out], shape),
            Op::AttentionStatistics {
                qkv,
                attended,
                d_out,
                out,
                shape,
            } => launch("attention_statistics", &[qkv, attended, d_out, out], shape),
            Op::AttentionBackward {
                qkv,
                d_out,
                statistics,
                d_qkv,
                shape,
            } => {
                let buffers = [qkv, d_out, statistics, d_qkv];
                launch("attention_d_queries", &buffers, shape)?;
                launch("attention_d_keys", &buffers, shape)
            }
            _ => Ok(()),
        }
    }

    fn rows(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        match op {
            Op::Patchify { pixels, out, shape } => {
                let len = shape.images * shape.patches() * 3 * shape.patch * shape.patch;
                let [height, width, patch] = [shape.height, shape.width, shape.patch].map(size);
                let arguments = [buffer(pixels), buffer(out), long(len), height, width, patch];
                self.elements("patchify", len, &arguments)
            }
            Op::AddClassToken {
                patches,
                class,
                positions,
                out,
                images,
                length,
                width,
            } => {
                let len = images * (1 + length) * width;
                let [patches, class, positions, out] = [patches, class, positions, out].map(buffer);
                let sizes = [long(len), size(*length), size(*width)];
                let [len_argument, length, width] = sizes;
                let arguments = [patches, class, positions, out, len_argument, length, width];
                self.elements("add_class_token", len, &arguments)
            }
            Op::DropClassToken {
                x,
                out,
                images,
                length,
                width,
            } => {
                let len = images * length * width;
                let arguments = [
                    buffer(x),
                    buffer(out),
                    long(len),
                    size(*length),
                    size(*width),
                ];
                self.elements("drop_class_token", len, &arguments)
            }
            Op::EmbedTokens {
                table,
                first,
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
            } => {
                let len = texts * length * width;
                let mut arguments = vec![
                    buffer(table),
                    buffer(ids),
                    buffer(positions),
                    optional(prompts.as_ref()),
                    optional(mean.as_ref()),
                    buffer(out),
                    long(len),
                ];
                arguments.extend([*first, *rows, *texts, *length, *context, *width].map(size));
                self.elements("embed_tokens", len, &arguments)
            }
            Op::ScatterRows {
                x,
                count,
                lists,
                targets,
                out,
                first,
                rows,
                width,
                stride,
                scale,
            } => {
                let mut arguments = vec![buffer(x), buffer(lists), buffer(out)];
                arguments.extend([*count, *width, *stride, *first, *rows].map(size));
                arguments.push(Argument::F32(*scale as f32));
                let grid = columns(*width, *targets);
                self.launch("scatter_rows", (grid, 64), &arguments)
            }
            _ => Ok(()),
        }
    }

    fn each_element(&mut self, op: &Op<CudaBuffer>) -> Result<(), DeviceError> {
        match op {
            Op::Activate {
                x,
                out,
                len,
                activation: function,
            } => {
                let arguments = [buffer(x), buffer(out), long(*len), activation(*function)];
                self.elements("activate_elements", *len, &arguments)
            }
            Op::ActivateBackward {
                x,
                d,
                len,
                activation: function,
            } => {
                let arguments = [buffer(x), buffer(d), long(*len), activation(*function)];
                self.elements("activate_backward", *len, &arguments)
            }
            Op::AdamW {
                parameter,
                first_moment,
                second_moment,
                gradient,
                constants,
                decays,
                len,
            } => {
                let buffers = [gradient, constants, parameter, first_moment, second_moment];
                let mut arguments: Vec<Argument> = buffers.into_iter().map(buffer).collect();
                arguments.extend([long(*len), Argument::U32(u32::from(*decays))]);
                self.elements("adamw", *len, &arguments)
            }
            Op::Clear { out, len } => {
                self.steps.push(Step::Clear(out.clone(), 4 * len));
                Ok(())
            }
            Op::Convert { x, out, len } => {
                self.elements("convert", *len, &[buffer(x), buffer(out), long(*len)])
            }
            Op::SumsOfSquares { x, out, len } => {
                let grid = blocks(len.div_ceil(SQUARES_PER_SUM));
                let arguments = [buffer(x), buffer(out), long(*len)];
                self.launch("sums_of_squares", (grid, 128), &arguments)
            }
            _ => Ok(()),
        }
    }
}

/// Blocks of 64 columns, for each partial sum of `count` rows.
fn partial_grid(width: usize, count: usize) -> [u32; 3] {
    [(width as u32).div_ceil(64), partial_sums(count) as u32, 1]
}

/// Kernels on a device. Their functions are valid as long as it, so that the programs keep it.
pub(super) struct Module {
    pub(super) handle: Handle,
    pub(super) context: Arc<crate::cuda::context::Context>,
}

// SAFETY: a module may be used from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.current() {
            // SAFETY: the device and every program that launches its functions are dropped.
            unsafe { (driver.unload_module)(self.handle) };
        }
    }
}
