use crate::kernels::{
    HeadScratch, Matrix, MatrixMut, RowsOf, product, sized, softmax_backward, softmax_prefix,
};
use super::forward::{Sequence, Transformer};

/// What is at hand of one head of one sequence.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    /// Probabilities.
    weights: Vec<f32>,
    /// Their gradient.
    d_weights: Vec<f32>,
    head: HeadScratch,
}

/// The rows of one sequence in arrays of several parts a row (queries, keys, values), and one head's columns of them.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Part {
    fn of<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&data[self.start..], self.rows, self.columns, self.stride)
    }

    fn of_mut<'a>(&self, data: &'a mut [f32]) -> MatrixMut<'a> {
        MatrixMut::new(
            &mut data[self.start..],
            self.rows,
            self.columns,
            self.stride,
        )
    }
}

impl Transformer<'_> {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn attention_scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }

    /// Part `which` of `parts` side by side, head `head`, of `rows` rows from `first` on.
    fn part(&self, first: usize, rows: usize, (which, parts): (usize, usize), head: usize) -> Part {
        let stride = parts * self.width;
        let columns = self.head_width();
        Part {
            start: first * stride + which * self.width + head * columns,
            rows,
            columns,
            stride,
        }
    }

    /// softmax(scale·queries·keysᵀ) into `weights`; a row sees itself and those before it where `causal`.
    fn probabilities(
        &self,
        weights: &mut [f32],
        queries: Matrix<'_>,
        keys: Matrix<'_>,
        columns: usize,
        causal: bool,
    ) {
        let logits = MatrixMut::packed(weights, columns);
        product(
            logits,
            queries,
            keys.transposed(),
            self.attention_scale(),
            false,
            1,
        );
        softmax_prefix(
            weights,
            columns,
            |row| if causal { row + 1 } else { columns },
        );
    }

    /// Attention of every row of `qkv`, `[rows, 3·width]`, into `out`, `[rows, width]`.
    pub(super) fn attention(
        &self,
        out: &mut [f32],
        qkv: &[f32],
        sequences: &[Sequence],
        scratch: &mut AttentionScratch,
    ) {
        for sequence in sequences {
            for head in 0..self.heads {
                if self.causal {
                    let queries = (qkv, self.rows(sequence.start, (0, 3), head));
                    let out = (&mut *out, self.rows(sequence.start, (0, 1), head));
                    self.gather_head((qkv, 3), sequence, head, &mut scratch.head);
                    let first_seen = sequence.before.len() + 1;
                    scratch.head.attend(
                        out,
                        queries,
                        sequence.length,
                        first_seen,
                        self.attention_scale(),
                    );
                } else {
                    self.attend_whole(out, qkv, sequence, head, &mut scratch.weights);
                }
            }
        }
    }

    /// One head of a sequence of which every position sees every other.
    fn attend_whole(
        &self,
        out: &mut [f32],
        qkv: &[f32],
        sequence: &Sequence,
        head: usize,
        weights: &mut Vec<f32>,
    ) {
        let length = sequence.length;
        let weights = sized(weights, length * length);
        let part = |which: usize| self.part(sequence.start, length, (which, 3), head).of(qkv);
        self.probabilities(weights, part(0), part(1), length, false);
        let out = self.part(sequence.start, length, (0, 1), head).of_mut(out);
        product(out, Matrix::packed(weights, length), part(2), 1.0, false, 1);
    }

    /// One head of rows from `first` on, where each row has `parts` parts side by side and this is part `which`.
    fn rows(&self, first: usize, (which, parts): (usize, usize), head: usize) -> RowsOf {
        let Part {
            start,
            stride,
            columns,
            ..
        } = self.part(first, 0, (which, parts), head);
        RowsOf {
            start,
            stride,
            width: columns,
        }
    }

    /// One head's keys and values, the last two of `parts` parts of a row, of all positions of a sequence.
    fn gather_head(
        &self,
        (data, parts): (&[f32], usize),
        sequence: &Sequence,
        head: usize,
        scratch: &mut HeadScratch,
    ) {
        let width = self.head_width();
        let row = |row: usize| {
            let first = (row * parts + parts - 2) * self.width + head * width;
            (
                &data[first..first + width],
                &data[first + self.width..][..width],
            )
        };
        scratch.gather(width, sequence.path().map(row));
    }

    /// The backward pass of [`Transformer::attention`]: fills `d_qkv`, `[rows, 3·width]`, from `d_out`,
    /// `[rows, width]`. The probabilities are computed again, which is cheaper than keeping them.
    pub(super) fn attention_backward(
        &self,
        d_qkv: &mut [f32],
        d_out: &[f32],
        qkv: &[f32],
        sequences: &[Sequence],
        scratch: &mut AttentionScratch,
    ) {
        for sequence in sequences {
            let length = sequence.length;
            let weights = sized(&mut scratch.weights, length * length);
            let d_weights = sized(&mut scratch.d_weights, length * length);
            for head in 0..self.heads {
                let part = |which: usize| self.part(sequence.start, length, (which, 3), head);
                let (q, k, v) = (part(0).of(qkv), part(1).of(qkv), part(2).of(qkv));
                let d_out = self.part(sequence.start, length, (0, 1), head).of(d_out);
                self.probabilities(weights, q, k, length, self.causal);
                let probabilities = Matrix::packed(weights, length);
                product(
                    part(2).of_mut(d_qkv),
                    probabilities.transposed(),
                    d_out,
                    1.0,
                    false,
                    1,
                );
                product(
                    MatrixMut::packed(d_weights, length),
                    d_out,
                    v.transposed(),
                    1.0,
                    false,
                    1,
                );
                softmax_backward(d_weights, weights, length, self.attention_scale());
                let d_logits = Matrix::packed(d_weights, length);
                product(part(0).of_mut(d_qkv), d_logits, k, 1.0, false, 1);
                product(
                    part(1).of_mut(d_qkv),
                    d_logits.transposed(),
                    q,
                    1.0,
                    false,
                    1,
                );
            }
        }
    }

    /// Attention of the pooled rows: `queries` and `out` are `[sequences, width]`, `kv` is `[rows, 2·width]`.
    pub(super) fn pooled_attention(
        &self,
        out: &mut [f32],
        queries: &[f32],
        kv: &[f32],
        sequences: &[Sequence],
        scratch: &mut AttentionScratch,
    ) {
        for (index, sequence) in sequences.iter().enumerate() {
            for head in 0..self.heads {
                let rows = self.rows(index, (0, 1), head);
                self.gather_head((kv, 2), sequence, head, &mut scratch.head);
                let (out, queries) = ((&mut *out, rows), (queries, rows));
                scratch.head.attend(
                    out,
                    queries,
                    1,
                    sequence.positions(),
                    self.attention_scale(),
                );
            }
        }
    }

    /// The backward pass of [`Transformer::pooled_attention`]: fills `d_queries`, `[sequences, width]`, and `d_kv`,
    /// `[rows, 2·width]`, from `d_out`, `[sequences, width]`.
    pub(super) fn pooled_attention_backward(
        &self,
        (d_queries, d_kv): (&mut [f32], &mut [f32]),
        d_out: &[f32],
        (queries, kv): (&[f32], &[f32]),
        sequences: &[Sequence],
        scratch: &mut AttentionScratch,
    ) {
        for (index, sequence) in sequences.iter().enumerate() {
            let seen = sequence.length;
            let weights = sized(&mut scratch.weights, seen);
            let d_weights = sized(&mut scratch.d_weights, seen);
            for head in 0..self.heads {
                let pooled = self.part(index, 1, (0, 1), head);
                let part = |which: usize| self.part(sequence.start, seen, (which, 2), head);
                let (query, d_out) = (pooled.of(queries), pooled.of(d_out));
                let (keys, values) = (part(0).of(kv), part(1).of(kv));
                self.probabilities(weights, query, keys, seen, false);
                let probabilities = Matrix::packed(weights, seen);
                product(
                    part(1).of_mut(d_kv),
                    probabilities.transposed(),
                    d_out,
                    1.0,
                    false,
                    1,
                );
                product(
                    MatrixMut::packed(d_weights, seen),
                    d_out,
                    values.transposed(),
                    1.0,
                    false,
                    1,
                );
                softmax_backward(d_weights, weights, seen, self.attention_scale());
                let d_logits = Matrix::packed(d_weights, seen);
                product(pooled.of_mut(d_queries), d_logits, keys, 1.0, false, 1);
                product(
                    part(0).of_mut(d_kv),
                    d_logits.transposed(),
                    query,
                    1.0,
                    false,
                    1,
                );
            }
        }
    }
}
