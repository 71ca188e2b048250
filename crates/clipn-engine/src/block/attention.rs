use std::cell::RefCell;

use rayon::prelude::*;

use super::forward::{Sequence, Transformer};
use crate::kernels::{
    Epilogue, HeadScratch, Matrix, MatrixMut, OutputPtr, Queries, RowLayout, RowsMut, RowsRef,
    first_n, gemm, masked_softmax, softmax_backward,
};

thread_local! {
    /// Per-thread buffers of one head, reused from head to head.
    static HEAD_SCRATCH: RefCell<HeadScratch> = RefCell::default();
}

/// Working buffers for one head of one sequence.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    /// Attention probabilities.
    weights: Vec<f32>,
    /// Gradient of the probabilities, then of the logits.
    d_weights: Vec<f32>,
    head: HeadScratch,
}

/// One of the projections (queries, keys, values) that an array concatenates in each row.
#[derive(Clone, Copy)]
struct Projection {
    index: usize,
    /// Number of projections in a row.
    count: usize,
}

impl Projection {
    /// The only projection of a row.
    const SINGLE: Self = Self { index: 0, count: 1 };

    const fn new(index: usize, count: usize) -> Self {
        Self { index, count }
    }
}

/// Queries, keys and values of [`Transformer::pooled_attention`].
#[derive(Debug, Clone, Copy)]
pub(super) struct PooledInputs<'a> {
    /// `[sequences, width]`.
    pub queries: &'a [f32],
    /// `[rows, 2·width]`.
    pub kv: &'a [f32],
}

/// Gradients of [`PooledInputs`], of the same shapes.
#[derive(Debug)]
pub(super) struct PooledGradients<'a> {
    pub queries: &'a mut [f32],
    pub kv: &'a mut [f32],
}

/// Location of one head of one sequence in an array whose rows concatenate several projections
/// (queries, keys, values).
#[derive(Clone, Copy)]
struct HeadView {
    start: usize,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl HeadView {
    fn view<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&data[self.start..], self.rows, self.columns, self.stride)
    }

    fn view_mut<'a>(&self, data: &'a mut [f32]) -> MatrixMut<'a> {
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

    /// Locates a head of one projection in the rows `first..first + rows` of an array.
    fn head_view(
        &self,
        first: usize,
        rows: usize,
        projection: Projection,
        head: usize,
    ) -> HeadView {
        let stride = projection.count * self.width;
        let columns = self.head_width();
        HeadView {
            start: first * stride + projection.index * self.width + head * columns,
            rows,
            columns,
            stride,
        }
    }

    /// Computes softmax(scale·queries·keysᵀ) into `weights`. If `causal`, a row sees only itself
    /// and earlier rows.
    fn probabilities(
        &self,
        weights: &mut [f32],
        queries: Matrix<'_>,
        keys: Matrix<'_>,
        columns: usize,
        causal: bool,
    ) {
        let logits = MatrixMut::row_major(weights, columns);
        gemm(
            logits,
            queries,
            keys.transposed(),
            Epilogue {
                alpha: self.attention_scale(),
                ..Epilogue::default()
            },
            1,
        );
        masked_softmax(
            weights,
            columns,
            |row| if causal { row + 1 } else { columns },
        );
    }

    /// Computes the attention of every row of `qkv`, `[rows, 3·width]`, into `out`,
    /// `[rows, width]`, on `threads` threads.
    pub(super) fn attention(
        &self,
        out: &mut [f32],
        qkv: &[f32],
        sequences: &[Sequence],
        threads: usize,
    ) {
        for sequence in sequences {
            let end = (sequence.start + sequence.length) * self.width;
            assert!(
                end <= out.len() && 3 * end <= qkv.len(),
                "a sequence exceeds its rows"
            );
            let out = OutputPtr(out.as_mut_ptr());
            // SAFETY: the assertion says that the rows of the sequence lie in `out`, which is
            // borrowed mutably. Each head writes its own columns.
            let attend = |head: usize| unsafe { self.attend_head(out, qkv, sequence, head) };
            if threads <= 1 {
                (0..self.heads).for_each(attend);
            } else {
                let per_job = self.heads.div_ceil(threads);
                (0..self.heads)
                    .into_par_iter()
                    .with_min_len(per_job)
                    .for_each(attend);
            }
        }
    }

    /// Computes one head of the attention of a sequence.
    ///
    /// # Safety
    ///
    /// `out` must point to rows of `width` values that include those of the sequence, whose columns
    /// of this head nothing else accesses during the call.
    unsafe fn attend_head(&self, out: OutputPtr, qkv: &[f32], sequence: &Sequence, head: usize) {
        let queries = RowsRef {
            data: qkv,
            layout: self.head_rows(sequence.start, Projection::new(0, 3), head),
        };
        let layout = self.head_rows(sequence.start, Projection::SINGLE, head);
        let first_visible = match self.causal {
            true => sequence.prefix.len() + 1,
            false => sequence.length,
        };
        HEAD_SCRATCH.with_borrow_mut(|scratch| {
            self.gather_head(qkv, 3, sequence, head, scratch);
            let queries = Queries {
                rows: queries,
                count: sequence.length,
                scale: self.attention_scale(),
                first_visible,
                causal: self.causal,
            };
            // SAFETY: as the caller guarantees.
            unsafe { scratch.attend_in_tiles(out.as_ptr(), layout, queries) };
        });
    }

    /// Locates a head of one projection in the rows from `first` on of an array.
    fn head_rows(&self, first: usize, projection: Projection, head: usize) -> RowLayout {
        let HeadView {
            start,
            stride,
            columns,
            ..
        } = self.head_view(first, 0, projection, head);
        RowLayout {
            start,
            stride,
            width: columns,
        }
    }

    /// Copies the keys and values of one head, the last two of the `projections` projections of a
    /// row, for all positions of a sequence.
    fn gather_head(
        &self,
        data: &[f32],
        projections: usize,
        sequence: &Sequence,
        head: usize,
        scratch: &mut HeadScratch,
    ) {
        let width = self.head_width();
        let row = |row: usize| {
            let first = (row * projections + projections - 2) * self.width + head * width;
            (
                &data[first..first + width],
                &data[first + self.width..][..width],
            )
        };
        let positions = sequence.position_count();
        scratch.gather(width, positions, sequence.rows().map(row));
    }

    /// Backward pass of [`Transformer::attention`]: fills `d_qkv`, `[rows, 3·width]`, from `d_out`,
    /// `[rows, width]`.
    ///
    /// It recomputes the probabilities, which is cheaper than storing them.
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
            let weights = first_n(&mut scratch.weights, length * length);
            let d_weights = first_n(&mut scratch.d_weights, length * length);
            for head in 0..self.heads {
                let projection = |index: usize| {
                    self.head_view(sequence.start, length, Projection::new(index, 3), head)
                };
                let (q, k, v) = (
                    projection(0).view(qkv),
                    projection(1).view(qkv),
                    projection(2).view(qkv),
                );
                let d_out = self
                    .head_view(sequence.start, length, Projection::SINGLE, head)
                    .view(d_out);
                self.probabilities(weights, q, k, length, self.causal);
                let probabilities = Matrix::row_major(weights, length);
                gemm(
                    projection(2).view_mut(d_qkv),
                    probabilities.transposed(),
                    d_out,
                    Epilogue::default(),
                    1,
                );
                gemm(
                    MatrixMut::row_major(d_weights, length),
                    d_out,
                    v.transposed(),
                    Epilogue::default(),
                    1,
                );
                softmax_backward(d_weights, weights, length, self.attention_scale());
                let d_logits = Matrix::row_major(d_weights, length);
                gemm(
                    projection(0).view_mut(d_qkv),
                    d_logits,
                    k,
                    Epilogue::default(),
                    1,
                );
                gemm(
                    projection(1).view_mut(d_qkv),
                    d_logits.transposed(),
                    q,
                    Epilogue::default(),
                    1,
                );
            }
        }
    }

    /// Computes the attention of the pooled rows: `queries` and `out` are `[sequences, width]`,
    /// `kv` is `[rows, 2·width]`.
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
                let layout = self.head_rows(index, Projection::SINGLE, head);
                self.gather_head(kv, 2, sequence, head, &mut scratch.head);
                let out = RowsMut {
                    data: &mut *out,
                    layout,
                };
                let queries = Queries {
                    rows: RowsRef {
                        data: queries,
                        layout,
                    },
                    count: 1,
                    scale: self.attention_scale(),
                    first_visible: sequence.position_count(),
                    causal: false,
                };
                scratch.head.attend(out, queries);
            }
        }
    }

    /// Backward pass of [`Transformer::pooled_attention`]: fills `gradients` from `d_out`,
    /// `[sequences, width]`.
    pub(super) fn pooled_attention_backward(
        &self,
        gradients: PooledGradients<'_>,
        d_out: &[f32],
        inputs: PooledInputs<'_>,
        sequences: &[Sequence],
        scratch: &mut AttentionScratch,
    ) {
        let PooledGradients {
            queries: d_queries,
            kv: d_kv,
        } = gradients;
        for (index, sequence) in sequences.iter().enumerate() {
            let length = sequence.length;
            let weights = first_n(&mut scratch.weights, length);
            let d_weights = first_n(&mut scratch.d_weights, length);
            for head in 0..self.heads {
                let pooled = self.head_view(index, 1, Projection::SINGLE, head);
                let projection = |index: usize| {
                    self.head_view(sequence.start, length, Projection::new(index, 2), head)
                };
                let (query, d_out) = (pooled.view(inputs.queries), pooled.view(d_out));
                let (keys, values) = (projection(0).view(inputs.kv), projection(1).view(inputs.kv));
                self.probabilities(weights, query, keys, length, false);
                let probabilities = Matrix::row_major(weights, length);
                gemm(
                    projection(1).view_mut(d_kv),
                    probabilities.transposed(),
                    d_out,
                    Epilogue::default(),
                    1,
                );
                gemm(
                    MatrixMut::row_major(d_weights, length),
                    d_out,
                    values.transposed(),
                    Epilogue::default(),
                    1,
                );
                softmax_backward(d_weights, weights, length, self.attention_scale());
                let d_logits = Matrix::row_major(d_weights, length);
                gemm(
                    pooled.view_mut(d_queries),
                    d_logits,
                    keys,
                    Epilogue::default(),
                    1,
                );
                gemm(
                    projection(0).view_mut(d_kv),
                    d_logits.transposed(),
                    query,
                    Epilogue::default(),
                    1,
                );
            }
        }
    }
}
