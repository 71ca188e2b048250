//! Attention and its gradient.

use clipn_model::Real;

use crate::host::HostBuffer;
use crate::op::{AttentionShape, Op};

/// Which third of a row of queries, keys and values.
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;

pub(super) fn run<T: Real>(op: &Op<HostBuffer<T>>) {
    match op {
        Op::Attention { qkv, out, shape } => {
            let qkv = qkv.copy();
            out.update(|out| forward(out, &qkv, *shape));
        }
        Op::AttentionStatistics {
            qkv,
            attended,
            d_out,
            out,
            shape,
        } => {
            let (qkv, attended, d_out) = (qkv.copy(), attended.copy(), d_out.copy());
            out.update(|out| statistics(out, &qkv, (&attended, &d_out), *shape));
        }
        Op::AttentionBackward {
            qkv,
            d_out,
            statistics,
            d_qkv,
            shape,
        } => {
            let (qkv, d_out, statistics) = (qkv.copy(), d_out.copy(), statistics.copy());
            d_qkv.update(|d_qkv| backward(d_qkv, &qkv, &d_out, &statistics, *shape));
        }
        _ => {}
    }
}

/// Position of a query in the statistics.
fn query_index(shape: AttentionShape, sequence: usize, head: usize, position: usize) -> usize {
    (sequence * shape.heads + head) * shape.length + position
}

/// Calls `query` for every sequence, head and position, with the number of visible positions.
fn each_query(shape: AttentionShape, mut query: impl FnMut(usize, usize, usize, usize)) {
    for sequence in 0..shape.sequences {
        for head in 0..shape.heads {
            for position in 0..shape.length {
                let visible = if shape.causal {
                    position + 1
                } else {
                    shape.length
                };
                query(sequence, head, position, visible);
            }
        }
    }
}

/// First element of a query, key or value in `[rows, 3·width]`.
fn third(shape: AttentionShape, row: usize, which: usize, head: usize) -> usize {
    (3 * row + which) * shape.width() + head * shape.head_width
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

fn scale<T: Real>(shape: AttentionShape) -> T {
    T::from_f64(shape.head_width as f64).sqrt().recip()
}

/// Returns the logits of a query.
fn logits<T: Real>(
    qkv: &[T],
    shape: AttentionShape,
    (sequence, head, position): (usize, usize, usize),
    visible: usize,
) -> Vec<T> {
    let first = sequence * shape.length;
    let part = |row, which| &qkv[third(shape, row, which, head)..][..shape.head_width];
    let query = part(first + position, QUERY);
    (first..first + visible)
        .map(|row| dot(query, part(row, KEY)) * scale(shape))
        .collect()
}

/// Returns the logarithm of the sum of exponentials.
fn log_sum<T: Real>(logits: &[T]) -> T {
    let largest = logits.iter().copied().fold(T::neg_infinity(), T::max);
    largest + logits.iter().map(|&l| (l - largest).exp()).sum::<T>().ln()
}

fn forward<T: Real>(out: &mut [T], qkv: &[T], shape: AttentionShape) {
    each_query(shape, |sequence, head, position, visible| {
        let logits = logits(qkv, shape, (sequence, head, position), visible);
        let total = log_sum(&logits);
        let first = sequence * shape.length;
        let at = (first + position) * shape.width() + head * shape.head_width;
        let target = &mut out[at..][..shape.head_width];
        target.fill(T::zero());
        for (row, &logit) in logits.iter().enumerate() {
            let value = &qkv[third(shape, first + row, VALUE, head)..][..shape.head_width];
            add_scaled(target, value, (logit - total).exp());
        }
    });
}

fn statistics<T: Real>(
    out: &mut [T],
    qkv: &[T],
    (attended, d_out): (&[T], &[T]),
    shape: AttentionShape,
) {
    each_query(shape, |sequence, head, position, visible| {
        let logits = logits(qkv, shape, (sequence, head, position), visible);
        let row = sequence * shape.length + position;
        let at = row * shape.width() + head * shape.head_width;
        let range = at..at + shape.head_width;
        let index = 2 * query_index(shape, sequence, head, position);
        out[index] = log_sum(&logits);
        out[index + 1] = dot(&attended[range.clone()], &d_out[range]);
    });
}

/// With p the probabilities of query i over positions j, e_j = d_i·v_j and m = Σ p·e: the gradient of the
/// logits is l_j = p_j·(e_j − m); then d_v\[j\] += p_j·d_i, d_q\[i\] += scale·l_j·k_j and
/// d_k\[j\] += scale·l_j·q_i.
fn backward<T: Real>(
    d_qkv: &mut [T],
    qkv: &[T],
    d_out: &[T],
    statistics: &[T],
    shape: AttentionShape,
) {
    d_qkv[..3 * shape.rows() * shape.width()].fill(T::zero());
    each_query(shape, |sequence, head, position, visible| {
        let logits = logits(qkv, shape, (sequence, head, position), visible);
        let index = 2 * query_index(shape, sequence, head, position);
        let (total, mean) = (statistics[index], statistics[index + 1]);
        let first = sequence * shape.length;
        let row = first + position;
        let d = &d_out[row * shape.width() + head * shape.head_width..][..shape.head_width];
        let at = |row, which| {
            let first = third(shape, row, which, head);
            first..first + shape.head_width
        };
        for (other, &logit) in logits.iter().enumerate() {
            let probability = (logit - total).exp();
            let e = dot(d, &qkv[at(first + other, VALUE)]);
            let d_logit = scale::<T>(shape) * probability * (e - mean);
            add_scaled(&mut d_qkv[at(first + other, VALUE)], d, probability);
            add_scaled(
                &mut d_qkv[at(row, QUERY)],
                &qkv[at(first + other, KEY)],
                d_logit,
            );
            add_scaled(
                &mut d_qkv[at(first + other, KEY)],
                &qkv[at(row, QUERY)],
                d_logit,
            );
        }
    });
}

fn add_scaled<T: Real>(sum: &mut [T], values: &[T], factor: T) {
    for (sum, &value) in sum.iter_mut().zip(values) {
        *sum = *sum + factor * value;
    }
}
