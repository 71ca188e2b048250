use clipn_model::{Activation, BlockParams, LinearParams, NormParams, Real};

/// Added to the variance in every layer norm.
pub(super) const LAYER_NORM_EPS: f64 = 1e-5;

/// Hyperparameters of a residual attention block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    pub causal: bool,
}

/// Runs all blocks over one sequence, `[positions, width]`, in place.
pub(super) fn run_blocks<T: Real>(x: &mut [T], blocks: &[BlockParams<T>], shape: BlockShape) {
    for params in blocks {
        block(x, params, shape);
    }
}

pub(super) fn block<T: Real>(x: &mut [T], params: &BlockParams<T>, shape: BlockShape) {
    let normed = layer_norm(x, &params.ln_1, shape.width);
    let qkv = linear(&normed, &params.in_proj, shape.width);
    let attended = attention(&qkv, shape);
    add(x, &linear(&attended, &params.out_proj, shape.width));
    mlp(x, params, shape);
}

/// Runs a block over rows `[rows, width]`, each with its own value instead of attention.
pub(super) fn block_of_values<T: Real>(
    x: &[T],
    params: &BlockParams<T>,
    shape: BlockShape,
) -> Vec<T> {
    let normed = layer_norm(x, &params.ln_1, shape.width);
    let qkv = linear(&normed, &params.in_proj, shape.width);
    let rows = qkv.chunks_exact(3 * shape.width);
    let values: Vec<T> = rows
        .flat_map(|row| &row[2 * shape.width..])
        .copied()
        .collect();
    let mut out = x.to_vec();
    add(&mut out, &linear(&values, &params.out_proj, shape.width));
    mlp(&mut out, params, shape);
    out
}

/// Computes x += c_proj(activation(c_fc(ln_2(x)))).
fn mlp<T: Real>(x: &mut [T], params: &BlockParams<T>, shape: BlockShape) {
    let normed = layer_norm(x, &params.ln_2, shape.width);
    let mut hidden = linear(&normed, &params.c_fc, shape.width);
    for value in &mut hidden {
        *value = activate(*value, shape.activation);
    }
    let hidden_width = params.c_fc.bias.len();
    add(x, &linear(&hidden, &params.c_proj, hidden_width));
}

pub(super) fn layer_norm<T: Real>(x: &[T], params: &NormParams<T>, width: usize) -> Vec<T> {
    let count = T::from_f64(width as f64);
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let mean = row.iter().copied().sum::<T>() / count;
        let variance = row.iter().map(|&v| (v - mean) * (v - mean)).sum::<T>() / count;
        let scale = (variance + T::from_f64(LAYER_NORM_EPS)).sqrt().recip();
        out.extend(
            row.iter()
                .zip(&*params.weight)
                .zip(&*params.bias)
                .map(|((&v, &w), &b)| (v - mean) * scale * w + b),
        );
    }
    out
}

/// Computes x·Wᵀ + b for rows of `width` values.
pub(super) fn linear<T: Real>(x: &[T], params: &LinearParams<T>, width: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len() / width * params.bias.len());
    for row in x.chunks_exact(width) {
        out.extend(
            params
                .weight
                .chunks_exact(width)
                .zip(&*params.bias)
                .map(|(w, &b)| dot(row, w) + b),
        );
    }
    out
}

/// Computes x·P for rows of `width` values and a projection, `[width, out]`.
pub(super) fn project<T: Real>(x: &[T], projection: &[T], width: usize) -> Vec<T> {
    let columns = projection.len() / width;
    let mut out = Vec::with_capacity(x.len() / width * columns);
    for row in x.chunks_exact(width) {
        out.extend((0..columns).map(|c| {
            row.iter()
                .zip(projection[c..].iter().step_by(columns))
                .map(|(&a, &b)| a * b)
                .sum::<T>()
        }));
    }
    out
}

/// Computes multi-head attention over one sequence of queries, keys and values,
/// `[positions, 3·width]`.
pub(super) fn attention<T: Real>(qkv: &[T], shape: BlockShape) -> Vec<T> {
    let BlockShape {
        width,
        heads,
        causal,
        ..
    } = shape;
    let positions = qkv.len() / (3 * width);
    let head_width = width / heads;
    let scale = T::from_f64(head_width as f64).sqrt().recip();
    let head_slice = |position: usize, which: usize, head: usize| {
        &qkv[position * 3 * width + which * width + head * head_width..][..head_width]
    };
    let mut out = vec![T::zero(); positions * width];
    for head in 0..heads {
        for i in 0..positions {
            let visible = if causal { i + 1 } else { positions };
            let logits: Vec<T> = (0..visible)
                .map(|j| dot(head_slice(i, 0, head), head_slice(j, 1, head)) * scale)
                .collect();
            let target = &mut out[i * width + head * head_width..][..head_width];
            for (j, weight) in softmax(&logits).into_iter().enumerate() {
                for (o, &v) in target.iter_mut().zip(head_slice(j, 2, head)) {
                    *o = *o + weight * v;
                }
            }
        }
    }
    out
}

pub(super) fn softmax<T: Real>(logits: &[T]) -> Vec<T> {
    let largest = logits.iter().copied().fold(T::neg_infinity(), T::max);
    let exponentials: Vec<T> = logits.iter().map(|&l| (l - largest).exp()).collect();
    let total = exponentials.iter().copied().sum::<T>();
    exponentials.into_iter().map(|e| e / total).collect()
}

pub(super) fn activate<T: Real>(x: T, activation: Activation) -> T {
    match activation {
        Activation::Gelu => {
            T::from_f64(0.5)
                * x
                * (T::one() + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
        }
        Activation::QuickGelu => x / (T::one() + (T::from_f64(-1.702) * x).exp()),
    }
}

pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

pub(super) fn add<T: Real>(x: &mut [T], y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = *x + y;
    }
}
