use crate::kernels::{Matrix, MatrixMut, add, add_bias, product, softmax_prefix};
use clipn_model::{AttentionPoolParams, LinearParams};

/// Attention of the mean position over all positions of the last map. There is one query a head, so that keys and
/// values need not be computed for every position: q·(K·x) is (Kᵀ·q)·x, Σ a·(V·x) is V·(Σ a·x), and the bias of the
/// keys, which adds the same to every logit, drops out.
#[derive(Debug)]
pub(super) struct AttentionPool<'a> {
    pub params: &'a AttentionPoolParams<f32>,
    pub heads: usize,
    /// `[1 + positions, width]`.
    pub positions: &'a [f32],
}

impl AttentionPool<'_> {
    /// Features `[images, D]` of the last maps `[images, positions, width]`.
    pub fn run(&self, out: &mut [f32], maps: &[f32], threads: usize) {
        let width = self.params.q_proj.bias.len();
        let (length, head_width) = (self.positions.len() / width, width / self.heads);
        let tokens = self.tokens(maps, width);
        let images = tokens.len() / (length * width);

        let means = Matrix::new(&tokens, images, width, length * width);
        let mut queries = linear(means, images, &self.params.q_proj, threads);
        let scale = (head_width as f32).powf(-0.5);
        queries.iter_mut().for_each(|q| *q *= scale);

        // What each head asks of a position, and then the positions' mean by its answers: [images, heads, width].
        let mut heads = vec![0.0; images * self.heads * width];
        for head in 0..self.heads {
            let queries = Matrix::packed(&queries, width).columns(head * head_width, head_width);
            let keys = Matrix::packed(rows(&self.params.k_proj, head, head_width, width), width);
            let asked = MatrixMut::new(
                &mut heads[head * width..],
                images,
                width,
                self.heads * width,
            );
            product(asked, queries, keys, 1.0, false, threads);
        }
        let mut logits = vec![0.0; self.heads * length];
        let each = tokens
            .chunks_exact(length * width)
            .zip(heads.chunks_exact_mut(self.heads * width));
        for (tokens, heads) in each {
            let tokens = Matrix::packed(tokens, width);
            let asked = Matrix::packed(heads, width);
            product(
                MatrixMut::packed(&mut logits, length),
                asked,
                tokens.transposed(),
                1.0,
                false,
                threads,
            );
            softmax_prefix(&mut logits, length, |_| length);
            let answers = Matrix::packed(&logits, length);
            product(
                MatrixMut::packed(heads, width),
                answers,
                tokens,
                1.0,
                false,
                threads,
            );
        }

        let mut attended = vec![0.0; images * width];
        for head in 0..self.heads {
            let seen = Matrix::new(&heads[head * width..], images, width, self.heads * width);
            let values = Matrix::packed(rows(&self.params.v_proj, head, head_width, width), width);
            let attended = MatrixMut::new(
                &mut attended[head * head_width..],
                images,
                head_width,
                width,
            );
            product(attended, seen, values.transposed(), 1.0, false, threads);
        }
        add_bias(&mut attended, &self.params.v_proj.bias);
        out.copy_from_slice(&linear(
            Matrix::packed(&attended, width),
            images,
            &self.params.c_proj,
            threads,
        ));
    }

    /// The mean position and the positions of each map, with their embeddings: `[images, 1 + positions, width]`.
    fn tokens(&self, maps: &[f32], width: usize) -> Vec<f32> {
        let area = self.positions.len() - width;
        let mut tokens = Vec::with_capacity(maps.len() / area * self.positions.len());
        for map in maps.chunks_exact(area) {
            let start = tokens.len();
            tokens.resize(start + width, 0.0);
            for position in map.chunks_exact(width) {
                add(&mut tokens[start..], position);
            }
            let share = width as f32 / area as f32;
            tokens[start..].iter_mut().for_each(|sum| *sum *= share);
            tokens.extend_from_slice(map);
            add(&mut tokens[start..], self.positions);
        }
        tokens
    }
}

/// The rows of a projection's weights that belong to a head, `[head_width, width]`.
fn rows(params: &LinearParams<f32>, head: usize, head_width: usize, width: usize) -> &[f32] {
    &params.weight[head * head_width * width..][..head_width * width]
}

/// x·weightᵀ + bias, for x of `rows` rows.
fn linear(x: Matrix<'_>, rows: usize, params: &LinearParams<f32>, threads: usize) -> Vec<f32> {
    let out = params.bias.len();
    let weight = Matrix::packed(&params.weight, x.width()).transposed();
    let mut y = vec![0.0; rows * out];
    product(
        MatrixMut::packed(&mut y, out),
        x,
        weight,
        1.0,
        false,
        threads,
    );
    add_bias(&mut y, &params.bias);
    y
}
