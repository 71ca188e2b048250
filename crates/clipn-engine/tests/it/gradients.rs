//! Compares the towers' gradients with those of the published CLIPN code, through a loss that is
//! written out here from its definition.

use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    FeatureMatrix, ImageBatch, ModelWeights, NamedTensor, PromptSelection, Real, TextGradient,
    TextSide, TrainableImageTower, TrainableTextTower, normalize_backward,
};
use clipn_testing::figures::{Figures, relative_to_max, weights};
use clipn_testing::fixture;
use clipn_text::tokenizer::TokenBatch;

/// Maximum errors, relative to the largest magnitude of each tensor.
const F64: f64 = 1e-10;
const F32: f64 = 1e-5;

fn figures(path: &str) -> Figures {
    Figures::open(&fixture(path))
}

/// The total loss, and its gradients with respect to the normalized features f (images), g ("yes")
/// and n ("no"), each `[N, D]`.
struct Loss {
    total: f64,
    d_images: Vec<f64>,
    d_yes: Vec<f64>,
    d_no: Vec<f64>,
}

/// Computes the loss 0.5·(L_yes + L_no + L_tso), where u_ij = s·f_i·(n_j − g_j) is the difference
/// of the logits of a pair: L_yes = mean_i softplus(u_ii), L_no = mean_{i≠j} softplus(−u_ij), L_tso
/// = mean_i 2 − √(2 − 2·g_i·n_i + 1e-4).
fn loss(f: &[f64], g: &[f64], n: &[f64], dim: usize, s: f64) -> Loss {
    let count = f.len() / dim;
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let sigmoid = |x: f64| {
        if x < 0.0 {
            x.exp() / (1.0 + x.exp())
        } else {
            1.0 / (1.0 + (-x).exp())
        }
    };
    let row = |m: &[f64], i: usize| m[i * dim..(i + 1) * dim].to_vec();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out = Loss {
        total: 0.0,
        d_images: vec![0.0; f.len()],
        d_yes: vec![0.0; f.len()],
        d_no: vec![0.0; f.len()],
    };
    let (pairs, others) = (count as f64, (count * count - count) as f64);
    for i in 0..count {
        let (fi, gi, ni) = (row(f, i), row(g, i), row(n, i));
        for j in 0..count {
            let (gj, nj) = (row(g, j), row(n, j));
            let u = s * (dot(&fi, &nj) - dot(&fi, &gj));
            let (value, slope) = if i == j {
                (softplus(u) / pairs, sigmoid(u) / pairs)
            } else {
                (softplus(-u) / others, -sigmoid(-u) / others)
            };
            out.total += 0.5 * value;
            for c in 0..dim {
                out.d_images[i * dim + c] += 0.5 * slope * s * (nj[c] - gj[c]);
                out.d_no[j * dim + c] += 0.5 * slope * s * fi[c];
                out.d_yes[j * dim + c] -= 0.5 * slope * s * fi[c];
            }
        }
        let distance = (2.0 - 2.0 * dot(&gi, &ni) + 1e-4).sqrt();
        out.total += 0.5 * (2.0 - distance) / pairs;
        for c in 0..dim {
            out.d_no[i * dim + c] += 0.5 * gi[c] / distance / pairs;
            out.d_yes[i * dim + c] += 0.5 * ni[c] / distance / pairs;
        }
    }
    out
}

fn normalized<T: Real + Into<f64>>(features: &FeatureMatrix<T>) -> Vec<f64> {
    let mut features = features.clone();
    features.normalize();
    features.values().iter().map(|&v| v.into()).collect()
}

/// Propagates the gradient of normalized features back through the normalization.
fn unnormalized_gradient<T: Real>(features: &FeatureMatrix<T>, d: &[f64]) -> Vec<T> {
    let d: Vec<T> = d.iter().map(|&d| T::from_f64(d)).collect();
    normalize_backward(features, &d).unwrap()
}

/// Returns the gradients of all parameters at step 0 of `train.safetensors`, by name, and the total
/// loss.
fn gradients<T, I, X>(
    model: &str,
    w: &ModelWeights,
    image: &I,
    yes: &X,
    no: &X,
) -> (Vec<NamedTensor<Vec<T>>>, f64)
where
    T: Real + Into<f64>,
    I: TrainableImageTower<T>,
    X: TrainableTextTower<T>,
{
    let train = figures(&format!("models/{model}/train.safetensors"));
    let pixels: Vec<T> = train
        .f64("images_step0")
        .into_iter()
        .map(T::from_f64)
        .collect();
    let shape = train.shape("images_step0");
    let tokens =
        TokenBatch::new(train.ids("tokens_step0"), train.shape("tokens_step0")[1]).unwrap();
    let choice = |i: u32| {
        if i == 16 {
            PromptSelection::Mean
        } else {
            PromptSelection::Index(i as usize)
        }
    };
    let prompts: Vec<PromptSelection> = train
        .ids("prompt_idx_step0")
        .into_iter()
        .map(choice)
        .collect();

    let (f, image_tape) = image
        .forward(ImageBatch::new(&pixels, shape[2], shape[3]).unwrap())
        .unwrap();
    let (g, yes_tape) = yes
        .forward(&tokens, &vec![PromptSelection::Mean; tokens.len()])
        .unwrap();
    let (n, no_tape) = no.forward(&tokens, &prompts).unwrap();
    let loss = loss(
        &normalized(&f),
        &normalized(&g),
        &normalized(&n),
        f.dim(),
        w.logit_scale(),
    );

    let mut d_image = image.params().zeros_like();
    image
        .backward(
            image_tape,
            &unnormalized_gradient(&f, &loss.d_images),
            &mut d_image,
        )
        .unwrap();
    let mut d_yes = TextGradient::zeros_like(yes.params());
    yes.backward(
        yes_tape,
        &unnormalized_gradient(&g, &loss.d_yes),
        &mut d_yes,
    )
    .unwrap();
    let mut d_no = TextGradient::zeros_like(no.params());
    no.backward(no_tape, &unnormalized_gradient(&n, &loss.d_no), &mut d_no)
        .unwrap();

    let vocabulary = w.config().text.vocab_size;
    let own = |t: NamedTensor<&[T]>| NamedTensor {
        name: t.name,
        shape: t.shape,
        values: t.values.to_vec(),
    };
    let mut all: Vec<_> = d_image.named_tensors().into_iter().map(own).collect();
    all.extend(d_yes.to_dense(vocabulary, TextSide::Yes));
    all.extend(d_no.to_dense(vocabulary, TextSide::No));
    (all, loss.total)
}

fn fast(model: &str) -> (Vec<NamedTensor<Vec<f32>>>, f64) {
    let w = weights(model);
    let (yes, no) = (
        TextTransformer::from_weights(&w, TextSide::Yes),
        TextTransformer::from_weights(&w, TextSide::No),
    );
    gradients(model, &w, &VisionTransformer::from_weights(&w), &yes, &no)
}

fn plain<T: Real + Into<f64>>(model: &str) -> (Vec<NamedTensor<Vec<T>>>, f64) {
    let w = weights(model);
    let (yes, no) = (
        ReferenceText::from_weights(&w, TextSide::Yes),
        ReferenceText::from_weights(&w, TextSide::No),
    );
    gradients(model, &w, &ReferenceVision::from_weights(&w), &yes, &no)
}

/// Compares the gradients whose names satisfy `wanted` with those of a file, and returns their
/// number.
fn check<T: Real + Into<f64>>(
    found: &[NamedTensor<Vec<T>>],
    expected: &Figures,
    prefix: &str,
    wanted: impl Fn(&str) -> bool,
    tolerance: f64,
) -> usize {
    let kept: Vec<_> = found.iter().filter(|t| wanted(&t.name)).collect();
    let mut worst = Vec::new();
    for tensor in &kept {
        let name = format!("{prefix}.{}", tensor.name);
        assert_eq!(tensor.shape, expected.shape(&name), "{name}");
        let found: Vec<f64> = tensor.values.iter().map(|&v| v.into()).collect();
        let error = relative_to_max(&found, &expected.f64(&name));
        worst.push((error, name));
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    let over: Vec<_> = worst
        .iter()
        .filter(|(error, _)| *error > tolerance)
        .collect();
    assert!(
        over.is_empty(),
        "error relative to the maximum exceeds {tolerance:e}: {over:?}"
    );
    eprintln!("{prefix}: largest error {:e} ({})", worst[0].0, worst[0].1);
    kept.len()
}

fn is_no_side(name: &str) -> bool {
    name == "prompt_no" || name.split('.').next().unwrap().ends_with("_no")
}

#[test]
fn reference_towers_match_the_published_gradients_in_f64() {
    for (model, layers) in [("vit_gelu", 2), ("vit_quickgelu", 3)] {
        let (found, total) = plain::<f64>(model);
        let expected = figures(&format!("models/{model}/no_gradients_f64.safetensors"));
        assert!((total / expected.f64("losses")[3] - 1.0).abs() < 1e-12);
        assert_eq!(
            check(&found, &expected, "grad", is_no_side, F64),
            6 + 12 * layers
        );
    }
}

#[test]
fn fast_towers_match_the_gradients_of_the_published_training_step() {
    for (model, layers) in [("vit_gelu", 2), ("vit_quickgelu", 3)] {
        let (found, total) = fast(model);
        let expected = figures(&format!("models/{model}/train.safetensors"));
        assert!((total / expected.f64("losses_step0")[3] - 1.0).abs() < 1e-5);
        assert_eq!(
            check(&found, &expected, "grad_step0", is_no_side, F32),
            6 + 12 * layers
        );
    }
}

#[test]
fn fast_towers_match_the_published_gradients_in_f64() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let expected = figures(&format!("models/{model}/no_gradients_f64.safetensors"));
        check(&fast(model).0, &expected, "grad", is_no_side, F32);
    }
}

#[test]
fn all_towers_match_the_published_gradients_of_all_parameters() {
    let expected = figures("models/vit_quickgelu/full_gradients_f32.safetensors");
    let all = (6 + 36) + (5 + 36) + (8 + 36);
    assert_eq!(
        check(&fast("vit_quickgelu").0, &expected, "grad", |_| true, F32),
        all
    );
    assert_eq!(
        check(
            &plain::<f32>("vit_quickgelu").0,
            &expected,
            "grad",
            |_| true,
            F32
        ),
        all
    );
    assert_eq!(
        check(
            &plain::<f64>("vit_quickgelu").0,
            &expected,
            "grad",
            |_| true,
            F32
        ),
        all
    );
}
