use clipn_model::{AttentionPoolParams, LinearParams};

use crate::kernels::{Epilogue, Matrix, MatrixMut, add, add_bias, gemm, masked_softmax};

/// Attention pooling (open_clip's `AttentionPool2d`): attention of the mean position over all
/// positions of the last map.
///
/// There is one query per head, so keys and values need not be computed for every position: q·(K·x)
/// = (Kᵀ·q)·x and Σ a·(V·x) = V·(Σ a·x). The bias of the keys adds the same value to every logit
/// and cancels in the softmax.
#[derive(Debug)]
pub(super) struct AttentionPool<'a> {
    pub params: &'a AttentionPoolParams<f32>,
    pub heads: usize,
    /// Positional embeddings, `[1 + positions, width]`.
    pub positions: &'a [f32],
}

impl AttentionPool<'_> {
    /// Computes features, `[images, D]`, from the last feature maps, `[images, positions, width]`.
    pub(crate) fn run(&self, out: &mut [f32], maps: &[f32], threads: usize) {
        let width = self.params.q_proj.bias.len();
        let (length, head_width) = (self.positions.len() / width, width / self.heads);
        let tokens = self.tokens(maps, width);
        let images = tokens.len() / (length * width);

        let means = Matrix::new(&tokens, images, width, length * width);
        let mut queries = linear(means, images, &self.params.q_proj, threads);
        let scale = (head_width as f32).powf(-0.5);
        queries.iter_mut().for_each(|q| *q *= scale);

        // First Kᵀ·q of each head, then Σ a·x, the mean of the positions weighted by attention:
        // [images, heads, width].
        let mut heads = vec![0.0; images * self.heads * width];
        for head in 0..self.heads {
            let queries =
                Matrix::row_major(&queries, width).column_range(head * head_width, head_width);
            let keys = Matrix::row_major(
                head_weight(&self.params.k_proj, head, head_width, width),
                width,
            );
            let key_queries = MatrixMut::new(
                &mut heads[head * width..],
                images,
                width,
                self.heads * width,
            );
            gemm(key_queries, queries, keys, Epilogue::default(), threads);
        }
        let mut logits = vec![0.0; self.heads * length];
        let each = tokens
            .chunks_exact(length * width)
            .zip(heads.chunks_exact_mut(self.heads * width));
        for (tokens, heads) in each {
            let tokens = Matrix::row_major(tokens, width);
            let key_queries = Matrix::row_major(heads, width);
            gemm(
                MatrixMut::row_major(&mut logits, length),
                key_queries,
                tokens.transposed(),
                Epilogue::default(),
                threads,
            );
            masked_softmax(&mut logits, length, |_| length);
            let probabilities = Matrix::row_major(&logits, length);
            gemm(
                MatrixMut::row_major(heads, width),
                probabilities,
                tokens,
                Epilogue::default(),
                threads,
            );
        }

        let mut attended = vec![0.0; images * width];
        for head in 0..self.heads {
            let weighted = Matrix::new(&heads[head * width..], images, width, self.heads * width);
            let values = Matrix::row_major(
                head_weight(&self.params.v_proj, head, head_width, width),
                width,
            );
            let attended = MatrixMut::new(
                &mut attended[head * head_width..],
                images,
                head_width,
                width,
            );
            gemm(
                attended,
                weighted,
                values.transposed(),
                Epilogue::default(),
                threads,
            );
        }
        add_bias(&mut attended, &self.params.v_proj.bias);
        out.copy_from_slice(&linear(
            Matrix::row_major(&attended, width),
            images,
            &self.params.c_proj,
            threads,
        ));
    }

    /// Computes features of single positions of the last feature maps, `[images · positions, D]`: the
    /// value and output projections without attention and without positional embeddings.
    pub(crate) fn values(&self, maps: &[f32], threads: usize) -> Vec<f32> {
        let width = self.params.v_proj.bias.len();
        let rows = maps.len() / width;
        let values = linear(
            Matrix::row_major(maps, width),
            rows,
            &self.params.v_proj,
            threads,
        );
        linear(
            Matrix::row_major(&values, width),
            rows,
            &self.params.c_proj,
            threads,
        )
    }

    /// Returns the mean position and the positions of each map, plus their positional embeddings:
    /// `[images, 1 + positions, width]`.
    fn tokens(&self, maps: &[f32], width: usize) -> Vec<f32> {
        let area = self.positions.len() - width;
        let mut tokens = Vec::with_capacity(maps.len() / area * self.positions.len());
        for map in maps.chunks_exact(area) {
            let start = tokens.len();
            tokens.resize(start + width, 0.0);
            for position in map.chunks_exact(width) {
                add(&mut tokens[start..], position);
            }
            let scale = width as f32 / area as f32;
            tokens[start..].iter_mut().for_each(|sum| *sum *= scale);
            tokens.extend_from_slice(map);
            add(&mut tokens[start..], self.positions);
        }
        tokens
    }
}

/// Returns the rows of a projection's weights that belong to a head, `[head_width, width]`.
fn head_weight(params: &LinearParams<f32>, head: usize, head_width: usize, width: usize) -> &[f32] {
    &params.weight[head * head_width * width..][..head_width * width]
}

/// Computes x·weightᵀ + bias, for an `x` with `rows` rows.
fn linear(x: Matrix<'_>, rows: usize, params: &LinearParams<f32>, threads: usize) -> Vec<f32> {
    let out = params.bias.len();
    let weight = Matrix::row_major(&params.weight, x.columns()).transposed();
    let mut y = vec![0.0; rows * out];
    gemm(
        MatrixMut::row_major(&mut y, out),
        x,
        weight,
        Epilogue::default(),
        threads,
    );
    add_bias(&mut y, &params.bias);
    y
}
