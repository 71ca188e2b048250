//! Backward passes of [`super::block`], each written out by the chain rule. They recompute
//! intermediate values of the forward pass from its input.
use clipn_checkpoint::Buffer;
use clipn_model::{Activation, BlockParams, LinearParams, NormParams, Real};

use super::block::{
    BlockShape, LAYER_NORM_EPS, activate, add, attention, block, dot, layer_norm, linear, softmax,
};

/// Returns the inputs of all blocks and the output of the last, for one sequence,
/// `[positions, width]`.
pub(super) fn trace<T: Real>(
    x: Vec<T>,
    blocks: &[BlockParams<T>],
    shape: BlockShape,
) -> Vec<Vec<T>> {
    let mut all = vec![x];
    for params in blocks {
        let mut x = all.last().cloned().unwrap_or_default();
        block(&mut x, params, shape);
        all.push(x);
    }
    all
}

/// Computes the gradient of the input of all blocks from that of their output, and adds those of
/// the parameters.
pub(super) fn run_blocks_backward<T: Real>(
    mut d: Vec<T>,
    trace: &[Vec<T>],
    blocks: &[BlockParams<T>],
    shape: BlockShape,
    gradient: &mut [BlockParams<T>],
) -> Vec<T> {
    for ((params, x), gradient) in blocks.iter().zip(trace).zip(gradient).rev() {
        d = block_backward(&d, x, params, shape, gradient);
    }
    d
}

fn block_backward<T: Real>(
    d: &[T],
    x: &[T],
    params: &BlockParams<T>,
    shape: BlockShape,
    gradient: &mut BlockParams<T>,
) -> Vec<T> {
    let width = shape.width;
    let normed_1 = layer_norm(x, &params.ln_1, width);
    let qkv = linear(&normed_1, &params.in_proj, width);
    let attended = attention(&qkv, shape);
    let mut middle = x.to_vec();
    add(&mut middle, &linear(&attended, &params.out_proj, width));
    let normed_2 = layer_norm(&middle, &params.ln_2, width);
    let hidden = linear(&normed_2, &params.c_fc, width);
    let activated: Vec<T> = hidden
        .iter()
        .map(|&h| activate(h, shape.activation))
        .collect();

    let mut d_hidden = linear_backward(d, &activated, &params.c_proj, &mut gradient.c_proj);
    for (d, &h) in d_hidden.iter_mut().zip(&hidden) {
        *d = *d * slope(h, shape.activation);
    }
    let d_normed = linear_backward(&d_hidden, &normed_2, &params.c_fc, &mut gradient.c_fc);
    let mut d_middle = layer_norm_backward(&d_normed, &middle, &params.ln_2, &mut gradient.ln_2);
    add(&mut d_middle, d);

    let d_attended = linear_backward(
        &d_middle,
        &attended,
        &params.out_proj,
        &mut gradient.out_proj,
    );
    let d_qkv = attention_backward(&d_attended, &qkv, shape);
    let d_normed = linear_backward(&d_qkv, &normed_1, &params.in_proj, &mut gradient.in_proj);
    let mut d_x = layer_norm_backward(&d_normed, x, &params.ln_1, &mut gradient.ln_1);
    add(&mut d_x, &d_middle);
    d_x
}

/// Backward pass of a layer norm: d_x = (e − mean(e) − n·mean(e·n))/σ, with n = (x − mean)/σ and e
/// = d·weight.
pub(super) fn layer_norm_backward<T: Real>(
    d: &[T],
    x: &[T],
    params: &NormParams<T>,
    gradient: &mut NormParams<T>,
) -> Vec<T> {
    let width = params.weight.len();
    let count = T::from_f64(width as f64);
    let (d_weight, d_bias) = (gradient.weight.make_mut(), gradient.bias.make_mut());
    let mut out = Vec::with_capacity(x.len());
    for (d, row) in d.chunks_exact(width).zip(x.chunks_exact(width)) {
        let mean = row.iter().copied().sum::<T>() / count;
        let variance = row.iter().map(|&v| (v - mean) * (v - mean)).sum::<T>() / count;
        let deviation = (variance + T::from_f64(LAYER_NORM_EPS)).sqrt();
        let n: Vec<T> = row.iter().map(|&v| (v - mean) / deviation).collect();
        let e: Vec<T> = d
            .iter()
            .zip(&*params.weight)
            .map(|(&d, &w)| d * w)
            .collect();
        let mean_e = e.iter().copied().sum::<T>() / count;
        let mean_en = dot(&e, &n) / count;
        out.extend(
            e.iter()
                .zip(&n)
                .map(|(&e, &n)| (e - mean_e - n * mean_en) / deviation),
        );
        for (i, (&d, &n)) in d.iter().zip(&n).enumerate() {
            d_weight[i] = d_weight[i] + d * n;
            d_bias[i] = d_bias[i] + d;
        }
    }
    out
}

/// Backward pass of x·Wᵀ + b: the gradient of x is d·W, that of W is dᵀ·x, and that of b is the sum
/// of d over the rows.
fn linear_backward<T: Real>(
    d: &[T],
    x: &[T],
    params: &LinearParams<T>,
    gradient: &mut LinearParams<T>,
) -> Vec<T> {
    let (out, inner) = (params.bias.len(), params.weight.len() / params.bias.len());
    for row in d.chunks_exact(out) {
        add(gradient.bias.make_mut(), row);
    }
    add_outer(&mut gradient.weight, d, x, out);
    let mut d_x = vec![T::zero(); x.len()];
    for (d, d_x) in d.chunks_exact(out).zip(d_x.chunks_exact_mut(inner)) {
        for (&d, weight) in d.iter().zip(params.weight.chunks_exact(inner)) {
            add_scaled(d_x, weight, d);
        }
    }
    d_x
}

/// Backward pass of x·P: the gradient of x is d·Pᵀ, and that of P is xᵀ·d.
pub(super) fn project_backward<T: Real>(
    d: &[T],
    x: &[T],
    projection: &[T],
    width: usize,
    gradient: &mut Buffer<T>,
) -> Vec<T> {
    let columns = projection.len() / width;
    add_outer(gradient, x, d, width);
    d.chunks_exact(columns)
        .flat_map(|d| projection.chunks_exact(columns).map(|p| dot(d, p)))
        .collect()
}

/// Computes sum += aᵀ·b, where the rows of `a` have `columns` values.
pub(super) fn add_outer<T: Real>(sum: &mut Buffer<T>, a: &[T], b: &[T], columns: usize) {
    let inner = sum.len() / columns;
    let sum = sum.make_mut();
    for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(inner)) {
        for (&a, sum) in a.iter().zip(sum.chunks_exact_mut(inner)) {
            add_scaled(sum, b, a);
        }
    }
}

/// Backward pass of attention.
///
/// For each head and each position i, let p be the probabilities over the visible positions j, and
/// e_j = d_i·v_j. The gradient of the logits is l_j = p_j·(e_j − Σ p·e). Then d_v\[j\] += p_j·d_i,
/// d_q\[i\] += scale·l_j·k_j and d_k\[j\] += scale·l_j·q_i.
fn attention_backward<T: Real>(d: &[T], qkv: &[T], shape: BlockShape) -> Vec<T> {
    let BlockShape {
        width,
        heads,
        causal,
        ..
    } = shape;
    let positions = qkv.len() / (3 * width);
    let head_width = width / heads;
    let scale = T::from_f64(head_width as f64).sqrt().recip();
    let mut d_qkv = vec![T::zero(); qkv.len()];
    for head in 0..heads {
        let at = |position: usize, which: usize| {
            let first = position * 3 * width + which * width + head * head_width;
            first..first + head_width
        };
        for i in 0..positions {
            let visible = if causal { i + 1 } else { positions };
            let d = &d[i * width + head * head_width..][..head_width];
            let logits: Vec<T> = (0..visible)
                .map(|j| dot(&qkv[at(i, 0)], &qkv[at(j, 1)]) * scale)
                .collect();
            let p = softmax(&logits);
            let e: Vec<T> = (0..visible).map(|j| dot(d, &qkv[at(j, 2)])).collect();
            let mean = dot(&p, &e);
            for j in 0..visible {
                let logit = scale * p[j] * (e[j] - mean);
                add_scaled(&mut d_qkv[at(j, 2)], d, p[j]);
                add_scaled(&mut d_qkv[at(i, 0)], &qkv[at(j, 1)], logit);
                add_scaled(&mut d_qkv[at(j, 1)], &qkv[at(i, 0)], logit);
            }
        }
    }
    d_qkv
}

/// Computes the derivative of the activation: Φ(x) + x·φ(x), or s + 1.702·x·s·(1 − s) with s =
/// σ(1.702·x).
fn slope<T: Real>(x: T, activation: Activation) -> T {
    match activation {
        Activation::Gelu => {
            let cdf = T::from_f64(0.5)
                * (T::one() + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf());
            let density = (T::from_f64(-0.5) * x * x).exp()
                * T::from_f64((2.0 * std::f64::consts::PI).sqrt().recip());
            cdf + x * density
        }
        Activation::QuickGelu => {
            let sigmoid = (T::one() + (T::from_f64(-1.702) * x).exp()).recip();
            sigmoid + T::from_f64(1.702) * x * sigmoid * (T::one() - sigmoid)
        }
    }
}

fn add_scaled<T: Real>(sum: &mut [T], values: &[T], scale: T) {
    for (sum, &value) in sum.iter_mut().zip(values) {
        *sum = *sum + scale * value;
    }
}
