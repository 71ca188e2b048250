//! Operations as kernels with their bindings, parameters and grids.

use clipn_model::Activation;

use crate::op::{
    AttentionShape, ElementKind, Gemm, NormRows, Op, Operand, SQUARES_PER_SUM, partial_sums,
};
use crate::wgpu::kernels::KernelName;
use crate::wgpu::{MAX_GROUPS, WgpuBuffer};

/// Number of 32-bit parameters of a kernel at most.
pub(super) const PARAMETERS: usize = 16;

/// A kernel with its bindings, parameters and grid.
pub(super) struct Dispatch {
    pub(super) kernel: KernelName,
    /// Bindings in order; `None` for one that is not used.
    pub(super) bindings: Vec<Option<WgpuBuffer>>,
    pub(super) parameters: Vec<u32>,
    /// Number of workgroups in each dimension.
    pub(super) grid: [u32; 3],
}

impl Dispatch {
    fn new<const N: usize>(
        kernel: KernelName,
        bindings: [&WgpuBuffer; N],
        parameters: &[u32],
        grid: [u32; 3],
    ) -> Self {
        let bindings = bindings.map(|buffer| Some(buffer.clone()));
        Self {
            kernel,
            bindings: bindings.into(),
            parameters: parameters.to_vec(),
            grid,
        }
    }
}

/// Spreads groups over the first two dimensions of a grid.
fn linear(groups: usize) -> [u32; 3] {
    let groups = groups.max(1) as u32;
    let rows = groups.div_ceil(MAX_GROUPS);
    [groups.div_ceil(rows), rows, 1]
}

/// Groups of 256 elements.
fn elements(len: usize) -> [u32; 3] {
    linear(len.div_ceil(256))
}

/// Groups of 64 columns, for each of some rows, which are spread over the last two dimensions.
fn columns(width: usize, rows: usize) -> [u32; 3] {
    let [y, z, _] = linear(rows);
    [(width as u32).div_ceil(64).max(1), y, z]
}

fn is_full(buffer: &WgpuBuffer) -> bool {
    buffer.kind == ElementKind::Full
}

fn activation(activation: Option<Activation>) -> u32 {
    match activation {
        None => 0,
        Some(Activation::Gelu) => 1,
        Some(Activation::QuickGelu) => 2,
    }
}

/// Returns the kernels of an operation, in order.
pub(super) fn dispatches(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
    match op {
        Op::Gemm(product) => vec![gemm(product)],
        Op::LayerNorm { .. }
        | Op::LayerNormStatistics { .. }
        | Op::LayerNormBackward { .. }
        | Op::LayerNormGainGradient { .. } => norm(op),
        Op::ColumnSums { .. } => column_sums(op),
        Op::Attention { .. } | Op::AttentionStatistics { .. } | Op::AttentionBackward { .. } => {
            attention(op)
        }
        Op::Patchify { .. }
        | Op::AddClassToken { .. }
        | Op::DropClassToken { .. }
        | Op::EmbedTokens { .. }
        | Op::ScatterRows { .. } => rows(op),
        _ => each_element(op),
    }
}

fn gemm(product: &Gemm<WgpuBuffer>) -> Dispatch {
    let strides = |operand: &Operand<WgpuBuffer>| {
        let stride = operand.stride as u32;
        if operand.transposed {
            [1, stride]
        } else {
            [stride, 1]
        }
    };
    let [a_row, a_column] = strides(&product.a);
    let [b_row, b_column] = strides(&product.b);
    let (m, n) = (product.m as u32, product.n as u32);
    Dispatch {
        kernel: KernelName::Gemm {
            full: is_full(&product.out),
        },
        bindings: vec![
            Some(product.a.buffer.clone()),
            Some(product.b.buffer.clone()),
            product.bias.clone(),
            product.addend.clone(),
            Some(product.out.clone()),
        ],
        parameters: vec![
            m,
            n,
            product.k as u32,
            a_row,
            a_column,
            b_row,
            b_column,
            u32::from(product.bias.is_some()),
            activation(product.activation),
            u32::from(product.addend.is_some()),
            u32::from(product.accumulate),
        ],
        grid: [n.div_ceil(64), m.div_ceil(64), 1],
    }
}

fn norm_bindings<const N: usize>(
    input: &NormRows<WgpuBuffer>,
    others: [&WgpuBuffer; N],
) -> Vec<Option<WgpuBuffer>> {
    let mut bindings = vec![Some(input.x.clone()), input.rows.clone()];
    bindings.extend(others.map(|buffer| Some(buffer.clone())));
    bindings
}

fn norm(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
    let parameters = |input: &NormRows<WgpuBuffer>| {
        vec![
            input.count as u32,
            input.width as u32,
            u32::from(input.rows.is_some()),
        ]
    };
    let each_row = |kernel, input: &NormRows<WgpuBuffer>, bindings| Dispatch {
        kernel,
        bindings,
        parameters: parameters(input),
        grid: linear(input.count),
    };
    match op {
        Op::LayerNorm {
            input,
            gain,
            bias,
            out,
        } => {
            let kernel = KernelName::LayerNorm { full: is_full(out) };
            vec![each_row(
                kernel,
                input,
                norm_bindings(input, [gain, bias, out]),
            )]
        }
        Op::LayerNormStatistics { input, out } => {
            let kernel = KernelName::LayerNormStatistics;
            vec![each_row(kernel, input, norm_bindings(input, [out]))]
        }
        Op::LayerNormBackward {
            input,
            statistics,
            gain,
            d_out,
            d_x,
        } => {
            let bindings = norm_bindings(input, [statistics, gain, d_out, d_x]);
            vec![each_row(KernelName::LayerNormBackward, input, bindings)]
        }
        Op::LayerNormGainGradient {
            input,
            statistics,
            d_out,
            partial,
            out,
        } => vec![
            Dispatch {
                kernel: KernelName::GainGradient,
                bindings: norm_bindings(input, [statistics, d_out, partial]),
                parameters: parameters(input),
                grid: partial_grid(input.width, input.count),
            },
            finish(partial, out, (input.count, input.width), 1.0, true),
        ],
        _ => Vec::new(),
    }
}

/// Groups of 64 columns, for each partial sum of `count` rows.
fn partial_grid(width: usize, count: usize) -> [u32; 3] {
    [
        (width as u32).div_ceil(64).max(1),
        (partial_sums(count) as u32).max(1),
        1,
    ]
}

/// Sums the partial sums over `count` rows.
fn finish(
    partial: &WgpuBuffer,
    out: &WgpuBuffer,
    (count, width): (usize, usize),
    scale: f64,
    accumulate: bool,
) -> Dispatch {
    let parameters = [
        partial_sums(count) as u32,
        width as u32,
        (scale as f32).to_bits(),
        u32::from(accumulate),
    ];
    let grid = [(width as u32).div_ceil(64).max(1), 1, 1];
    Dispatch::new(KernelName::FinishSums, [partial, out], &parameters, grid)
}

fn column_sums(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
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
        return Vec::new();
    };
    let parameters = [*count as u32, *width as u32, *stride as u32, *offset as u32];
    vec![
        Dispatch::new(
            KernelName::ColumnSums { full: is_full(x) },
            [x, partial],
            &parameters,
            partial_grid(*width, *count),
        ),
        finish(partial, out, (*count, *width), *scale, *accumulate),
    ]
}

fn attention(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
    let dispatch = |kernel, bindings: Vec<&WgpuBuffer>, shape: AttentionShape| Dispatch {
        kernel,
        bindings: bindings.into_iter().cloned().map(Some).collect(),
        parameters: vec![
            shape.sequences as u32,
            shape.length as u32,
            shape.heads as u32,
            u32::from(shape.causal),
            (shape.head_width as f32).sqrt().recip().to_bits(),
        ],
        grid: columns(shape.length, shape.sequences * shape.heads),
    };
    match op {
        Op::Attention { qkv, out, shape } => {
            let head = shape.head_width as u32;
            vec![dispatch(
                KernelName::Attention { head },
                vec![qkv, out],
                *shape,
            )]
        }
        Op::AttentionStatistics {
            qkv,
            attended,
            d_out,
            out,
            shape,
        } => {
            let head = shape.head_width as u32;
            let kernel = KernelName::AttentionStatistics { head };
            vec![dispatch(kernel, vec![qkv, attended, d_out, out], *shape)]
        }
        Op::AttentionBackward {
            qkv,
            d_out,
            statistics,
            d_qkv,
            shape,
        } => {
            let head = shape.head_width as u32;
            let bindings = vec![qkv, d_out, statistics, d_qkv];
            vec![
                dispatch(
                    KernelName::AttentionDQueries { head },
                    bindings.clone(),
                    *shape,
                ),
                dispatch(KernelName::AttentionDKeys { head }, bindings, *shape),
            ]
        }
        _ => Vec::new(),
    }
}

fn rows(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
    let dispatch = match op {
        Op::Patchify { pixels, out, shape } => {
            let len = shape.images * shape.patches() * 3 * shape.patch * shape.patch;
            let sizes = [len, shape.height, shape.width, shape.patch].map(|size| size as u32);
            Dispatch::new(KernelName::Patchify, [pixels, out], &sizes, elements(len))
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
            let sizes = [len, *length, *width].map(|size| size as u32);
            let bindings = [patches, class, positions, out];
            Dispatch::new(KernelName::AddClassToken, bindings, &sizes, elements(len))
        }
        Op::DropClassToken {
            x,
            out,
            images,
            length,
            width,
        } => {
            let len = images * length * width;
            let sizes = [len, *length, *width].map(|size| size as u32);
            Dispatch::new(KernelName::DropClassToken, [x, out], &sizes, elements(len))
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
            let flags = [prompts.is_some(), mean.is_some()].map(usize::from);
            let sizes = [
                len, *first, *rows, *texts, *length, *context, *width, flags[0], flags[1],
            ];
            Dispatch {
                kernel: KernelName::EmbedTokens,
                bindings: vec![
                    Some(table.clone()),
                    Some(ids.clone()),
                    Some(positions.clone()),
                    prompts.clone(),
                    mean.clone(),
                    Some(out.clone()),
                ],
                parameters: sizes.map(|size| size as u32).into(),
                grid: elements(len),
            }
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
            let sizes = [*count, *width, *stride, *first, *rows].map(|size| size as u32);
            let mut parameters = sizes.to_vec();
            parameters.push((*scale as f32).to_bits());
            let grid = columns(*width, *targets);
            Dispatch::new(KernelName::ScatterRows, [x, lists, out], &parameters, grid)
        }
        _ => return Vec::new(),
    };
    vec![dispatch]
}

fn each_element(op: &Op<WgpuBuffer>) -> Vec<Dispatch> {
    let dispatch = match op {
        Op::Activate {
            x,
            out,
            len,
            activation: function,
        } => {
            let parameters = [*len as u32, activation(Some(*function))];
            Dispatch::new(KernelName::Activate, [x, out], &parameters, elements(*len))
        }
        Op::ActivateBackward {
            x,
            d,
            len,
            activation: function,
        } => {
            let parameters = [*len as u32, activation(Some(*function))];
            let kernel = KernelName::ActivateBackward;
            Dispatch::new(kernel, [x, d], &parameters, elements(*len))
        }
        Op::AdamW {
            parameter,
            first_moment,
            second_moment,
            gradient,
            constants,
            decays,
            len,
        } => Dispatch::new(
            KernelName::AdamW,
            [gradient, constants, parameter, first_moment, second_moment],
            &[*len as u32, u32::from(*decays)],
            elements(*len),
        ),
        Op::Clear { out, len } => {
            Dispatch::new(KernelName::Clear, [out], &[*len as u32], elements(*len))
        }
        Op::Convert { x, out, len } => Dispatch::new(
            KernelName::Convert,
            [x, out],
            &[*len as u32],
            elements(*len),
        ),
        Op::SumsOfSquares { x, out, len } => Dispatch::new(
            KernelName::SumsOfSquares,
            [x, out],
            &[*len as u32],
            linear(len.div_ceil(SQUARES_PER_SUM)),
        ),
        _ => return Vec::new(),
    };
    vec![dispatch]
}
