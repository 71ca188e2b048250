//! Whole optimizer steps against the published ones: towers, objective, AdamW, schedule and clamp
//! together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use clipn_engine::reference::{ReferenceText, ReferenceVision};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    ImageTower, PromptSelection, Real, TextSide, TrainableImageTower, TrainableTextTower,
};
use clipn_testing::figures::{Figures, assert_close, relative_to_max, weights};
use clipn_testing::{fixture, test_data};
use clipn_text::tokenizer::TokenBatch;
use clipn_train::{
    AdamW, AdamWSettings, Collective, Communicator, CommunicatorError, Gathered, GradientScaling,
    ImageInput, InProcess, MicroBatch, NoTexts, ObjectiveSettings, Schedule, SingleProcess,
    TextInput, Towers, Trainer,
};

const SCHEDULE: Schedule = Schedule::Cosine {
    base: 3e-4,
    warmup: 0,
    total: 10,
};

fn fast(model: &str) -> Towers<f32, VisionTransformer, TextTransformer> {
    let w = weights(model);
    Towers {
        image: VisionTransformer::from_weights(&w),
        yes: TextTransformer::from_weights(&w, TextSide::Yes),
        no: Some(TextTransformer::from_weights(&w, TextSide::No)),
        logit_scale: w.logit_scale().ln() as f32,
    }
}

fn reference(model: &str) -> Towers<f64, ReferenceVision<f64>, ReferenceText<f64>> {
    let w = weights(model);
    Towers {
        image: ReferenceVision::from_weights(&w),
        yes: ReferenceText::from_weights(&w, TextSide::Yes),
        no: Some(ReferenceText::from_weights(&w, TextSide::No)),
        logit_scale: w.logit_scale().ln(),
    }
}

fn trainer<T, I, X, C>(
    towers: Towers<T, I, X>,
    scaling: GradientScaling,
    ranks: C,
) -> Trainer<T, I, X, C>
where
    T: Real,
    I: TrainableImageTower<T>,
    X: TrainableTextTower<T>,
    C: Communicator + Collective<T>,
{
    let optimizer = AdamW::new(AdamWSettings::default()).unwrap();
    Trainer::new(
        towers,
        ObjectiveSettings::default().build().unwrap(),
        scaling,
        optimizer,
        ranks,
    )
    .unwrap()
}

/// Returns the rows `rows` of a step's batch; `[images, tokens, prompts]` are the names of its
/// inputs.
fn batch<T: Real>(
    figures: &Figures,
    names: [&str; 3],
    rows: std::ops::Range<usize>,
    values: impl Fn(&Figures, &str) -> Vec<T>,
) -> MicroBatch<'static, T> {
    let [images, tokens, prompts] = names;
    let size = figures.shape(images)[3];
    let length = figures.shape(tokens)[1];
    let each = 3 * size * size;
    let ids = figures.ids(tokens)[rows.start * length..rows.end * length].to_vec();
    let tokens = TokenBatch::new(ids, length).unwrap();
    // The published code draws one of 17: the 16 prompts, or their mean.
    let prompt = |index: u32| {
        if index == 16 {
            PromptSelection::Mean
        } else {
            PromptSelection::Index(index as usize)
        }
    };
    let prompts = figures.ids(prompts)[rows.clone()]
        .iter()
        .map(|&i| prompt(i))
        .collect();
    MicroBatch {
        images: ImageInput::Pixels {
            values: values(figures, images)[rows.start * each..rows.end * each]
                .to_vec()
                .into(),
            size,
        },
        yes: TextInput::Tokens(tokens.clone()),
        no: Some(NoTexts { tokens, prompts }),
        outliers: None,
    }
}

fn step_batch<T: Real>(
    figures: &Figures,
    step: usize,
    rows: std::ops::Range<usize>,
    values: impl Fn(&Figures, &str) -> Vec<T>,
) -> MicroBatch<'static, T> {
    let names = [
        format!("images_step{step}"),
        format!("tokens_step{step}"),
        format!("prompt_idx_step{step}"),
    ];
    batch(figures, [&names[0], &names[1], &names[2]], rows, values)
}

/// Checks every "no" parameter against the published one. Of `in_proj_bias`, only queries and
/// values are checked without `with_keys`: the gradient of the keys is rounding noise, which AdamW
/// amplifies. Rounding of other small gradients is amplified to 5e-5.
fn check_parameters<T: Real + Into<f64>>(
    params: Vec<clipn_model::NamedTensor<&[T]>>,
    expected: impl Fn(&str) -> Vec<T>,
    tolerance: f64,
    with_keys: bool,
) {
    for tensor in params {
        let expected = expected(&tensor.name);
        let (mut found, mut expected_values) = (tensor.values.to_vec(), expected);
        if tensor.name.ends_with("in_proj_bias") && !with_keys {
            let third = found.len() / 3;
            found.drain(third..2 * third);
            expected_values.drain(third..2 * third);
        }
        assert_close(&found, &expected_values, tolerance, &tensor.name);
    }
}

#[test]
fn three_steps_match_the_published_f32() {
    for model in ["vit_gelu", "vit_quickgelu"] {
        let figures = Figures::open(&fixture(&format!("models/{model}/train.safetensors")));
        let mut trainer = trainer(fast(model), GradientScaling::True, SingleProcess);
        for step in 0..3 {
            let rows = figures.shape("images_step0")[0];
            let report = trainer
                .step(
                    &[step_batch(&figures, step, 0..rows, Figures::f32)],
                    SCHEDULE.learning_rate(step as u64),
                )
                .unwrap();
            let losses = figures.f64(&format!("losses_step{step}"));
            let found: Vec<f64> = report
                .terms
                .iter()
                .map(|p| p.1)
                .chain([report.total])
                .collect();
            assert_close(&found, &losses, 1e-5, "losses");
            if step != 1 {
                let name = |n: &str| format!("param_after_step{}.{n}", step + 1);
                let no = trainer.towers().no.as_ref().unwrap();
                check_parameters(
                    no.params().named_tensors(TextSide::No),
                    |n| figures.f32(&name(n)),
                    1e-4,
                    false,
                );
            }
        }
        assert!(
            (trainer.towers().logit_scale - 100f32.ln()).abs() < 1e-6,
            "the logit scale is clamped"
        );
    }
}

#[test]
fn three_steps_match_the_published_f64() {
    let inputs = Figures::open(&fixture("models/vit_quickgelu/train.safetensors"));
    let figures = Figures::open(&fixture("models/vit_quickgelu/train_f64.safetensors"));
    let mut trainer = trainer(
        reference("vit_quickgelu"),
        GradientScaling::True,
        SingleProcess,
    );
    for step in 0..3 {
        let part = step_batch(&inputs, step, 0..8, Figures::f64);
        let report = trainer
            .step(&[part], SCHEDULE.learning_rate(step as u64))
            .unwrap();
        let found: Vec<f64> = report
            .terms
            .iter()
            .map(|p| p.1)
            .chain([report.total])
            .collect();
        assert_close(
            &found,
            &figures.f64(&format!("losses_step{step}")),
            1e-10,
            "losses",
        );
    }
    let no = trainer.towers().no.as_ref().unwrap();
    check_parameters(
        no.params().named_tensors(TextSide::No),
        |n| figures.f64(&format!("param_after_step3.{n}")),
        1e-10,
        true,
    );
}

#[test]
fn micro_batches_take_the_same_step_as_one_batch() {
    let figures = Figures::open(&fixture("models/vit_quickgelu/train.safetensors"));
    let mut whole = trainer(
        reference("vit_quickgelu"),
        GradientScaling::True,
        SingleProcess,
    );
    let mut parts = trainer(
        reference("vit_quickgelu"),
        GradientScaling::True,
        SingleProcess,
    );
    let part = |rows| step_batch(&figures, 0, rows, Figures::f64);
    let one = whole.step(&[part(0..8)], 3e-4).unwrap();
    let three = parts
        .step(&[part(0..3), part(3..4), part(4..8)], 3e-4)
        .unwrap();
    assert!((one.total - three.total).abs() < 1e-13);
    let (one, three) = (
        whole.towers().no.as_ref().unwrap(),
        parts.towers().no.as_ref().unwrap(),
    );
    for (a, b) in one
        .params()
        .named_tensors(TextSide::No)
        .iter()
        .zip(three.params().named_tensors(TextSide::No))
    {
        assert!(relative_to_max(a.values, b.values) < 1e-9, "{}", a.name);
    }
}

/// The published step of two processes, as two threads: losses, and the parameters after it.
#[test]
fn two_ranks_match_the_published_step() {
    let Some(path) = test_data("golden/ddp/ddp2_default.safetensors") else {
        return;
    };
    let figures = Figures::open(&path);
    for scaling in [GradientScaling::True, GradientScaling::Published] {
        let run = |ranks: InProcess| {
            let rank = ranks.rank();
            let names = ["images", "tokens", "prompt_idx"].map(|n| format!("rank{rank}.{n}"));
            let part = batch(
                &figures,
                [&names[0], &names[1], &names[2]],
                0..4,
                Figures::f32,
            );
            let mut trainer = trainer(fast("vit_quickgelu"), scaling, ranks);
            let report = trainer.step(&[part], 3e-4).unwrap();
            let found: Vec<f64> = report
                .terms
                .iter()
                .map(|p| p.1)
                .chain([report.total])
                .collect();
            assert_close(
                &found,
                &figures.f64(&format!("rank{rank}.losses")),
                1e-5,
                "losses",
            );
            trainer.towers().clone()
        };
        let towers: Vec<_> = std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = InProcess::world(2)
                .into_iter()
                .map(|ranks| scope.spawn(move || run(ranks)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let no = |rank: usize| {
            towers[rank]
                .no
                .as_ref()
                .unwrap()
                .params()
                .named_tensors(TextSide::No)
        };
        for (a, b) in no(0).iter().zip(no(1)) {
            assert_eq!(a.values, b.values, "ranks differ in {}", a.name);
        }
        // AdamW hides the published factor of one half up to its eps.
        let tolerance = if scaling == GradientScaling::Published {
            5e-5
        } else {
            3e-4
        };
        check_parameters(
            no(0),
            |n| figures.f32(&format!("param_after.{n}")),
            tolerance,
            false,
        );
    }
}

/// Trains 50 steps on `count` ranks as threads, on the batches of three published steps in turn.
/// Returns the losses of rank 0, and the values of its "no" tower.
fn fifty_steps<T, I, X>(
    count: usize,
    towers: &(impl Fn() -> Towers<T, I, X> + Sync),
    values: &(impl Fn(&Figures, &str) -> Vec<T> + Sync),
    with_keys: bool,
) -> (Vec<f64>, Vec<Vec<T>>)
where
    T: Real,
    I: TrainableImageTower<T>,
    X: TrainableTextTower<T>,
    InProcess: Collective<T>,
{
    let figures = Figures::open(&fixture("models/vit_quickgelu/train.safetensors"));
    let run = |ranks: InProcess| {
        let rows = 8 / count;
        let first = ranks.rank() * rows;
        let mut trainer = trainer(towers(), GradientScaling::True, ranks);
        let mut losses = Vec::new();
        for step in 0..50 {
            let part = step_batch(&figures, step % 3, first..first + rows, values);
            let report = trainer.step(&[part], 3e-4).unwrap();
            losses.push(report.total);
        }
        let no = trainer.towers().no.as_ref().unwrap();
        let tensors = no.params().named_tensors(TextSide::No);
        let values = tensors.iter().map(|tensor| {
            let mut values = tensor.values.to_vec();
            if tensor.name.ends_with("in_proj_bias") && !with_keys {
                let third = values.len() / 3;
                values.drain(third..2 * third);
            }
            values
        });
        (losses, values.collect())
    };
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = InProcess::world(count)
            .into_iter()
            .map(|ranks| scope.spawn(move || run(ranks)))
            .collect();
        let mut results = threads.into_iter().map(|thread| thread.join().unwrap());
        let first: (Vec<f64>, Vec<Vec<T>>) = results.next().unwrap();
        for (losses, values) in results {
            assert_eq!(losses, first.0, "ranks differ");
            assert!(values == first.1, "ranks differ");
        }
        first
    })
}

fn max_difference<T: Real + Into<f64>>(a: &[Vec<T>], b: &[Vec<T>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.fold(0.0, |max: f64, (&a, &b)| {
        max.max((a.into() - b.into()).abs())
    })
}

/// In f32, losses differ by less than the rounding error of one logit, which is up to the logit scale of
/// 100. The biases of the keys are left out: their gradient is zero but for rounding noise, which AdamW
/// amplifies to steps of up to the learning rate.
#[test]
fn fifty_steps_are_the_same_on_one_two_and_four_ranks() {
    let one = fifty_steps(1, &|| fast("vit_quickgelu"), &Figures::f32, false);
    for count in [2, 4] {
        let found = fifty_steps(count, &|| fast("vit_quickgelu"), &Figures::f32, false);
        let loss = max_difference(std::slice::from_ref(&one.0), &[found.0]);
        let parameter = max_difference(&one.1, &found.1);
        println!("f32 on {count}: losses {loss:e}, parameters {parameter:e}");
        let rounding = 100.0 * f64::from(f32::EPSILON) / 2.0;
        assert!(loss < rounding, "{count} ranks: losses differ by {loss}");
        assert!(
            parameter < 1e-5,
            "{count} ranks: parameters differ by {parameter}"
        );
    }
    let one = fifty_steps(1, &|| reference("vit_quickgelu"), &Figures::f64, true);
    for count in [2, 4] {
        let found = fifty_steps(count, &|| reference("vit_quickgelu"), &Figures::f64, true);
        let loss = max_difference(std::slice::from_ref(&one.0), &[found.0]);
        let parameter = max_difference(&one.1, &found.1);
        println!("f64 on {count}: losses {loss:e}, parameters {parameter:e}");
        assert!(
            loss < 1e-12 * one.0[0],
            "{count} ranks: losses differ by {loss}"
        );
        assert!(
            parameter < 1e-12,
            "{count} ranks: parameters differ by {parameter}"
        );
    }
}

/// What a rank exchanges: the number of values of every call, and of gathered values and bytes.
#[derive(Default)]
struct Counts {
    summed: Vec<usize>,
    scattered: Vec<usize>,
    shared: Vec<usize>,
    gathered: usize,
    bytes: usize,
}

struct CountingRanks {
    ranks: InProcess,
    counts: Arc<Mutex<Counts>>,
}

impl Collective<f32> for CountingRanks {
    fn all_gather(&self, values: &[f32]) -> Result<Gathered<f32>, CommunicatorError> {
        self.counts.lock().unwrap().gathered += values.len();
        self.ranks.all_gather(values)
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CommunicatorError> {
        self.counts.lock().unwrap().summed.push(values.len());
        self.ranks.all_reduce_sum(values)
    }

    fn reduce_scatter_sum(&self, values: &mut [f32]) -> Result<(), CommunicatorError> {
        self.counts.lock().unwrap().scattered.push(values.len());
        self.ranks.reduce_scatter_sum(values)
    }

    fn all_gather_shares(&self, values: &mut [f32]) -> Result<(), CommunicatorError> {
        self.counts.lock().unwrap().shared.push(values.len());
        self.ranks.all_gather_shares(values)
    }

    fn broadcast(&self, root: usize, values: &mut [f32]) -> Result<(), CommunicatorError> {
        self.ranks.broadcast(root, values)
    }
}

impl Collective<f64> for CountingRanks {
    fn all_gather(&self, values: &[f64]) -> Result<Gathered<f64>, CommunicatorError> {
        self.ranks.all_gather(values)
    }

    fn all_reduce_sum(&self, values: &mut [f64]) -> Result<(), CommunicatorError> {
        self.ranks.all_reduce_sum(values)
    }

    fn reduce_scatter_sum(&self, values: &mut [f64]) -> Result<(), CommunicatorError> {
        self.ranks.reduce_scatter_sum(values)
    }

    fn all_gather_shares(&self, values: &mut [f64]) -> Result<(), CommunicatorError> {
        self.ranks.all_gather_shares(values)
    }

    fn broadcast(&self, root: usize, values: &mut [f64]) -> Result<(), CommunicatorError> {
        self.ranks.broadcast(root, values)
    }
}

impl Communicator for CountingRanks {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        self.counts.lock().unwrap().bytes += bytes.len();
        self.ranks.all_gather_bytes(bytes)
    }

    fn abort(&self, code: i32) {
        self.ranks.abort(code);
    }
}

#[test]
fn a_step_sends_dense_gradients_once_and_only_the_token_rows_of_the_batch() {
    let figures = Figures::open(&fixture("models/vit_quickgelu/train.safetensors"));
    let length = figures.shape("tokens_step0")[1];
    let ids = figures.ids("tokens_step0");
    let counts: Vec<Arc<Mutex<Counts>>> = (0..2).map(|_| Arc::default()).collect();
    std::thread::scope(|scope| {
        for (ranks, counts) in InProcess::world(2).into_iter().zip(&counts) {
            let figures = &figures;
            let counts = Arc::clone(counts);
            scope.spawn(move || {
                let first = 4 * ranks.rank();
                let ranks = CountingRanks { ranks, counts };
                let mut trainer = trainer(fast("vit_quickgelu"), GradientScaling::True, ranks);
                let part = step_batch(figures, 0, first..first + 4, Figures::f32);
                trainer.step(&[part], 3e-4).unwrap();
            });
        }
    });
    let towers = fast("vit_quickgelu");
    let no = towers.no.unwrap();
    let tensors = no.params().named_tensors(TextSide::No);
    let is_table = |name: &str| name == "token_embedding_no.weight";
    let dense: usize = (tensors.iter())
        .filter(|tensor| !is_table(&tensor.name))
        .map(|tensor| tensor.values.len())
        .sum();
    let table = tensors
        .iter()
        .find(|tensor| is_table(&tensor.name))
        .unwrap();
    let width = table.shape[1];
    let dim = towers.image.embed_dim();
    for (rank, counts) in counts.iter().enumerate() {
        let own: BTreeSet<u32> = ids[rank * 4 * length..(rank + 1) * 4 * length]
            .iter()
            .copied()
            .collect();
        let Counts {
            summed,
            scattered,
            shared,
            gathered,
            bytes,
        } = &*counts.lock().unwrap();
        // The gradient of the logit scale, then gradients and updated parameters, in one bucket each.
        assert_eq!(*summed, [1], "rank {rank}");
        assert_eq!(
            (scattered, shared),
            (&vec![dense], &vec![dense]),
            "rank {rank}"
        );
        // Features of 4 images, 4 "yes" and 4 "no" texts, and the rows.
        let rows = (gathered - 3 * 4 * dim) / width;
        assert_eq!(*bytes, 4 * rows, "rank {rank}");
        assert!(
            rows > 0 && rows <= own.len(),
            "rank {rank}: {rows} of {}",
            own.len()
        );
        // 300 rows of ViT-B-32's table of 49,408 rows of 512 values.
        let overhead = (4 * (gathered - 3 * 4 * dim) + bytes) / rows - 4 * width;
        let sparse = 300 * (4 * 512 + overhead);
        assert!(
            100 * sparse < 4 * 49_408 * 512,
            "rank {rank}: {sparse} bytes"
        );
    }
}
